// Where the blocks of a cache lie, which a test that writes and reads through the same layout cannot see.
#include "kernels/cpu/kv_layout.h"

#include <cstdint>

#include "kernels/test_util.h"

namespace slmmesh::kernels {
namespace {

class KvLayoutTest : public testing::TestWithParam<KvType> {
 protected:
  static constexpr int64_t kBlockSize = 32, kHeads = 3, kHeadDim = 20, kGap = 192;
  const KvLayout dense_{GetParam(), kBlockSize, kHeads, kHeadDim};
};

TEST_P(KvLayoutTest, ABlockLiesAStrideBehindTheOneBefore) {
  const int64_t stride = dense_.block_bytes() + kGap;
  const KvLayout spread(KvCache{nullptr, GetParam(), 4, kBlockSize, kHeads, kHeadDim, stride});
  const KvLayout close(KvCache{nullptr, GetParam(), 4, kBlockSize, kHeads, kHeadDim});
  for (const int64_t block : {0, 1, 3}) {
    for (const int64_t head : {0, 2}) {
      for (const int64_t slot : {0, 16}) {
        for (const auto place :
             {&KvLayout::KeyChunk, &KvLayout::ValueChunk, &KvLayout::KeyScales, &KvLayout::ValueScales}) {
          const int64_t within = (dense_.*place)(0, head, slot);
          EXPECT_EQ((spread.*place)(block, head, slot), block * stride + within);
          EXPECT_EQ((close.*place)(block, head, slot), block * dense_.block_bytes() + within);
        }
      }
    }
  }
}

// What lies between two blocks is another layer's.
TEST_P(KvLayoutTest, NothingIsWrittenBetweenBlocks) {
  Random random(32);
  SCOPED_TRACE(random.Describe());
  const auto backend = MakeBackend(SupportedIsas().back(), 1);
  const int64_t block_bytes = dense_.block_bytes(), stride = block_bytes + kGap, blocks = 3;
  const Buffer memory(*backend, blocks * stride);
  std::memset(memory.get(), 0x5a, blocks * stride);
  const KvCache cache = {memory.get(), GetParam(), blocks, kBlockSize, kHeads, kHeadDim, stride};
  const int64_t tokens = blocks * kBlockSize;
  auto qkv = random.Normals(tokens * (kHeads + 2 * kHeads) * kHeadDim);
  const std::vector<float> table(tokens * kHeadDim / 2, 0.5f);
  std::vector<uint32_t> positions(tokens);
  for (int64_t i = 0; i < tokens; ++i) positions[i] = static_cast<uint32_t>(i);
  const uint32_t query_start[] = {0, static_cast<uint32_t>(tokens)}, block_start[] = {0, 3}, block_table[] = {2, 0, 1};
  const SequenceLayout layout = {1, tokens, query_start, block_table, block_start, positions.data()};
  backend->RopeStore({qkv.data(), kHeads, kHeadDim, table.data(), table.data(), nullptr, nullptr, 0.0f, layout, cache});
  for (int64_t block = 0; block < blocks; ++block) {
    const char* const begin = static_cast<const char*>(memory.get()) + block * stride;
    int64_t kept = 0;
    for (int64_t i = 0; i < block_bytes; ++i) kept += begin[i] == 0x5a ? 1 : 0;
    // But for the columns that fill up rows of values, and numbers that happen to be the same.
    const int64_t padding = kHeads * kBlockSize * (dense_.value_stride() - kHeadDim) * dense_.element_bytes();
    EXPECT_LE(kept, padding + block_bytes / 10) << "block " << block << " was written";
    for (int64_t i = block_bytes; i < stride; ++i) ASSERT_EQ(begin[i], 0x5a) << i - block_bytes << " behind " << block;
  }
}

const char* TypeName(KvType type) {
  const char* const names[] = {"fp32", "bf16", "int8"};
  return names[static_cast<int>(type)];
}

INSTANTIATE_TEST_SUITE_P(Types, KvLayoutTest, testing::Values(KvType::kFloat32, KvType::kBFloat16, KvType::kInt8),
                         [](const auto& info) { return TypeName(info.param); });

}  // namespace
}  // namespace slmmesh::kernels
