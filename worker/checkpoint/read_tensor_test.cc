// The oracle is arithmetic in double precision on the formats' definitions.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "worker/checkpoint/checkpoint.h"
#include "worker/checkpoint/tensor_table.h"

namespace slmmesh {
namespace {

TensorView View(TensorType type, std::vector<int64_t> shape, const std::vector<uint8_t>& bytes) {
  TensorView view;
  view.type = type;
  view.shape = std::move(shape);
  view.bytes = bytes;
  return view;
}

std::vector<uint8_t> RandomBytes(size_t count, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<uint8_t> bytes(count);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
  return bytes;
}

double HalfValue(uint16_t half) {
  const int exponent = (half >> 10) & 31;
  const int mantissa = half & 1023;
  const double magnitude = exponent == 0    ? std::ldexp(mantissa, -24)
                           : exponent == 31 ? (mantissa == 0 ? INFINITY : NAN)
                                            : std::ldexp(1024 + mantissa, exponent - 25);
  return (half & 0x8000) != 0 ? -magnitude : magnitude;
}

uint16_t LoadHalf(const uint8_t* bytes) { return static_cast<uint16_t>(bytes[0] | (bytes[1] << 8)); }

// Element `i` of a row of blocks, as ggml defines them.
double QuantizedValue(TensorType type, const uint8_t* row, int64_t i) {
  const uint8_t* block = row + i / 32 * static_cast<int64_t>(RowBytes(type, 32));
  const int64_t k = i % 32;
  const double scale = HalfValue(LoadHalf(block));
  if (type == TensorType::kQ8_0) return scale * static_cast<int8_t>(block[2 + k]);
  const uint8_t* nibbles = block + (type == TensorType::kQ4_1 ? 4 : 2);
  const int quantum = k < 16 ? nibbles[k] & 15 : nibbles[k - 16] >> 4;
  if (type == TensorType::kQ4_0) return scale * (quantum - 8);
  return static_cast<float>(scale * quantum) + static_cast<float>(HalfValue(LoadHalf(block + 2)));
}

void ExpectSameFloat(double expected, float actual) {
  if (std::isnan(expected)) {
    EXPECT_TRUE(std::isnan(actual));
  } else {
    EXPECT_EQ(static_cast<float>(expected), actual);
    EXPECT_EQ(std::signbit(expected), std::signbit(actual));
  }
}

TEST(ReadTensor, EveryHalfIsExact) {
  std::vector<uint8_t> bytes;
  for (int half = 0; half < 65536; ++half) {
    bytes.push_back(static_cast<uint8_t>(half));
    bytes.push_back(static_cast<uint8_t>(half >> 8));
  }
  std::vector<float> values(65536);
  ReadTensor(View(TensorType::kF16, {65536}, bytes), 0, 1, 0, 65536, values.data());
  for (int half = 0; half < 65536; ++half) {
    ASSERT_NO_FATAL_FAILURE(ExpectSameFloat(HalfValue(static_cast<uint16_t>(half)), values[static_cast<size_t>(half)]))
        << half;
  }
}

TEST(ReadTensor, BFloatIsTheUpperHalfOfAFloat) {
  const std::vector<uint8_t> bytes = RandomBytes(2 * 4096, 1);
  std::vector<float> values(4096);
  ReadTensor(View(TensorType::kBF16, {4096}, bytes), 0, 1, 0, 4096, values.data());
  for (size_t i = 0; i < values.size(); ++i) {
    const uint32_t expected = static_cast<uint32_t>(LoadHalf(&bytes[2 * i])) << 16;
    uint32_t actual;
    std::memcpy(&actual, &values[i], 4);
    EXPECT_EQ(expected, actual);
  }
}

// Every range of columns, aligned to blocks or not, of random bytes.
TEST(ReadTensor, QuantizedBlocksAtAnyColumns) {
  constexpr int64_t kRows = 3;
  constexpr int64_t kColumns = 96;
  for (const TensorType type : {TensorType::kQ8_0, TensorType::kQ4_0, TensorType::kQ4_1}) {
    SCOPED_TRACE(TensorTypeName(type));
    const uint64_t stride = RowBytes(type, kColumns);
    const std::vector<uint8_t> bytes = RandomBytes(kRows * stride, 2);
    const TensorView view = View(type, {kRows, kColumns}, bytes);
    for (int64_t begin = 0; begin <= kColumns; begin += 5) {
      for (int64_t end = begin; end <= kColumns; ++end) {
        std::vector<float> values(static_cast<size_t>(2 * (end - begin)) + 1, -7.0f);
        ReadTensor(view, 1, 3, begin, end, values.data());
        const float* actual = values.data();
        for (int64_t row = 1; row < 3; ++row) {
          for (int64_t c = begin; c < end; ++c) {
            ExpectSameFloat(QuantizedValue(type, &bytes[static_cast<uint64_t>(row) * stride], c), *actual++);
          }
        }
        EXPECT_EQ(*actual, -7.0f) << "nothing is written beyond the range";
      }
    }
  }
}

TEST(ReadTensor, RangesOfFloats) {
  std::vector<float> stored(12);
  for (size_t i = 0; i < 12; ++i) stored[i] = static_cast<float>(i);
  std::vector<uint8_t> bytes(48);
  std::memcpy(bytes.data(), stored.data(), 48);
  std::vector<float> values(4);
  ReadTensor(View(TensorType::kF32, {3, 4}, bytes), 1, 3, 1, 3, values.data());
  EXPECT_EQ(values, (std::vector<float>{5, 6, 9, 10}));
}

// Two heads of four rows: GGUF stores row pairs (0, 2), (1, 3) of each head side by side.
TEST(ReadTensor, UndoesInterleavedHeads) {
  const std::vector<float> stored = {0, 2, 1, 3, 4, 6, 5, 7};  // the Hugging Face row that lies at each place
  std::vector<uint8_t> bytes(32);
  std::memcpy(bytes.data(), stored.data(), 32);
  std::vector<float> values(8);
  for (const std::vector<int64_t>& shape : {std::vector<int64_t>{8, 1}, std::vector<int64_t>{8}}) {
    TensorView view = View(TensorType::kF32, shape, bytes);
    view.interleaved_heads = 2;
    ReadTensor(view, 0, view.rows(), 0, view.columns(), values.data());
    EXPECT_EQ(values, (std::vector<float>{0, 1, 2, 3, 4, 5, 6, 7}));
  }
  TensorView view = View(TensorType::kF32, {8}, bytes);
  view.interleaved_heads = 2;
  ReadTensor(view, 0, 1, 5, 7, values.data());
  EXPECT_EQ(values[0], 5);
  EXPECT_EQ(values[1], 6);
}

}  // namespace
}  // namespace slmmesh
