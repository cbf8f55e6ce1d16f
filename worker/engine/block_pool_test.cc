#include "worker/engine/block_pool.h"

#include <gtest/gtest.h>

#include <deque>
#include <random>

namespace slmmesh {
namespace {

TEST(BlockPoolTest, HandsOutEachBlockOnce) {
  BlockPool pool(3);
  EXPECT_EQ(pool.size(), 3u);
  EXPECT_EQ(pool.Allocate(), 0u);
  EXPECT_EQ(pool.Allocate(), 1u);
  EXPECT_EQ(pool.Allocate(), 2u);
  EXPECT_EQ(pool.Allocate(), std::nullopt);
  EXPECT_EQ(pool.num_free(), 0u);
}

TEST(BlockPoolTest, UselessBlocksAreUsedBeforeCachedOnes) {
  BlockPool pool(3);
  for (int i = 0; i < 3; ++i) pool.Allocate();
  pool.Release(1, BlockContent::kCached);
  pool.Release(2, BlockContent::kCached);
  pool.Release(0, BlockContent::kUseless);
  EXPECT_EQ(pool.Allocate(), 0u);
  EXPECT_EQ(pool.Allocate(), 1u);  // the least recently used
  EXPECT_EQ(pool.Allocate(), 2u);
}

TEST(BlockPoolTest, AFreeBlockThatIsReferredToAgainIsNotHandedOut) {
  BlockPool pool(2);
  pool.Allocate();
  pool.Allocate();
  pool.Release(0, BlockContent::kCached);
  pool.AddReference(0);
  EXPECT_EQ(pool.Allocate(), std::nullopt);
  pool.AddReference(0);
  pool.Release(0, BlockContent::kCached);
  EXPECT_EQ(pool.num_free(), 0u);
  pool.Release(0, BlockContent::kCached);
  EXPECT_EQ(pool.Allocate(), 0u);
}

TEST(BlockPoolDeathTest, ReleasingAFreeBlockIsABug) {
  BlockPool pool(1);
  EXPECT_DEATH(pool.Release(0, BlockContent::kUseless), "references");
}

TEST(BlockPoolTest, AgreesWithAListUnderRandomUse) {
  for (uint32_t seed = 1; seed <= 50; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    const uint32_t size = 1 + random() % 12;
    BlockPool pool(size);
    std::deque<BlockId> free;
    std::vector<uint32_t> references(size, 0);
    for (BlockId block = 0; block < size; ++block) free.push_back(block);
    for (int step = 0; step < 500; ++step) {
      const BlockId block = random() % size;
      if (random() % 3 == 0) {
        const std::optional<BlockId> allocated = pool.Allocate();
        ASSERT_EQ(allocated.has_value(), !free.empty());
        if (!allocated.has_value()) continue;
        ASSERT_EQ(*allocated, free.front());
        free.pop_front();
        references[*allocated] = 1;
      } else if (random() % 3 == 0) {
        pool.AddReference(block);
        if (references[block]++ == 0) std::erase(free, block);
      } else if (references[block] > 0) {
        const bool cached = random() % 2 == 0;
        pool.Release(block, cached ? BlockContent::kCached : BlockContent::kUseless);
        if (--references[block] == 0) cached ? free.push_back(block) : free.push_front(block);
      }
      ASSERT_EQ(pool.num_free(), free.size());
      ASSERT_EQ(pool.references(block), references[block]);
    }
  }
}

}  // namespace
}  // namespace slmmesh
