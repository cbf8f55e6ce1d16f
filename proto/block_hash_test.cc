#include "proto/block_hash.h"

#include <gtest/gtest.h>

namespace slmmesh {
namespace {

const std::vector<uint32_t> kTokens = {1, 2, 3, 4, 5, 6, 7, 8, 9};

TEST(BlockHash, OnlyFullBlocksHaveOne) {
  EXPECT_EQ(PromptBlockHashes("", kTokens, 4).size(), 2u);
  EXPECT_TRUE(PromptBlockHashes("", kTokens, 16).empty());
}

TEST(BlockHash, AChainDependsOnSaltOrderAndEverythingBefore) {
  const auto base = PromptBlockHashes("tenant-a", kTokens, 4);
  EXPECT_NE(base[0], PromptBlockHashes("tenant-b", kTokens, 4)[0]);
  std::vector<uint32_t> changed = kTokens;
  std::swap(changed[0], changed[1]);
  const auto other = PromptBlockHashes("tenant-a", changed, 4);
  EXPECT_NE(base[0], other[0]);
  EXPECT_NE(base[1], other[1]);
}

// Routers and workers of different versions meet in one mesh: the values are part of the wire contract.
TEST(BlockHash, ValuesAreFixed) {
  EXPECT_EQ(PromptBlockHashes("t", kTokens, 4), (std::vector<BlockHash>{0xf8b55e6dd2359b75u, 0xcbc727ef58c30ebeu}));
}

}  // namespace
}  // namespace slmmesh
