// GGUF's K-quants against llama.cpp's gguf-py, bit for bit: whole rows, and every range that a shard may begin or end
// at.
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <vector>

#include "absl/strings/escaping.h"
#include "nlohmann/json.hpp"
#include "worker/checkpoint/checkpoint.h"
#include "worker/checkpoint/tensor_table.h"

namespace slmmesh {
namespace {

std::vector<uint32_t> BitsOf(const TensorView& tensor, int64_t begin, int64_t end) {
  std::vector<float> values(static_cast<size_t>(end - begin));
  ReadTensor(tensor, 0, 1, begin, end, values.data());
  std::vector<uint32_t> bits(values.size());
  if (!bits.empty()) std::memcpy(bits.data(), values.data(), 4 * values.size());
  return bits;
}

TEST(GoldenKQuants, EqualGgufPy) {
  std::ifstream file(MESH_SOURCE_DIR "/tests/golden/k_quants.json");
  const nlohmann::json cases = nlohmann::json::parse(file);
  size_t seen = 0;
  for (const TensorType type : {TensorType::kQ4_K, TensorType::kQ5_K, TensorType::kQ6_K}) {
    for (const nlohmann::json& one : cases) {
      if (one["type"] != TensorTypeName(type)) continue;
      ++seen;
      SCOPED_TRACE(TensorTypeName(type));
      const std::string bytes = absl::HexStringToBytes(one["bytes"].get<std::string>());
      const std::vector<uint32_t> expected = one["bits"];
      const auto columns = static_cast<int64_t>(expected.size());
      TensorView tensor;
      tensor.type = type;
      tensor.shape = {1, columns};
      tensor.bytes = absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
      ASSERT_EQ(RowBytes(type, columns), bytes.size());
      ASSERT_EQ(BitsOf(tensor, 0, columns), expected);
      for (int64_t begin = 0; begin < columns; begin += 37) {
        for (int64_t end = begin; end <= columns; end += 29) {
          ASSERT_EQ(BitsOf(tensor, begin, end),
                    std::vector<uint32_t>(expected.begin() + begin, expected.begin() + end));
        }
      }
    }
  }
  EXPECT_EQ(seen, 3u);
}

}  // namespace
}  // namespace slmmesh
