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

// What ReadQuantized gives for a range, multiplied, against ReadTensor. Bytes behind each result stay as they were.
void ExpectSameValues(const TensorView& view, const kernels::WeightFormat& format, int64_t row_begin, int64_t row_end,
                      int64_t column_begin, int64_t column_end) {
  const int64_t columns = column_end - column_begin;
  const int64_t group = format.group == 0 ? columns : format.group;
  const size_t count = static_cast<size_t>((row_end - row_begin) * columns);
  const size_t groups = group == 0 ? 0 : count / static_cast<size_t>(group);
  std::vector<float> values(count + 1);
  std::vector<int8_t> quants(count + 1, 77);
  std::vector<float> scales(groups + 1, 7.5f);
  std::vector<float> minima(groups + 1, 7.5f);
  ReadTensor(view, row_begin, row_end, column_begin, column_end, values.data());
  ReadQuantized(view, row_begin, row_end, column_begin, column_end, quants.data(), scales.data(),
                format.has_minima ? minima.data() : nullptr);
  const bool unsigned4 = format.type == kernels::WeightType::kInt4 && format.has_minima;
  for (size_t i = 0; i < count; ++i) {
    const size_t g = i / static_cast<size_t>(group);
    if (format.type == kernels::WeightType::kInt4) {
      ASSERT_GE(quants[i], unsigned4 ? 0 : -8);
      ASSERT_LE(quants[i], unsigned4 ? 15 : 7);
    }
    const float product = scales[g] * static_cast<float>(quants[i]);
    ASSERT_NO_FATAL_FAILURE(ExpectSameFloat(values[i], format.has_minima ? product + minima[g] : product)) << i;
  }
  EXPECT_EQ(quants[count], 77);
  EXPECT_EQ(scales[groups], 7.5f);
  EXPECT_EQ(minima[groups], 7.5f);
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

// The same numbers by both ways, with every range of groups, rows interleaved or not.
TEST(ReadQuantized, ScaleTimesQuantIsTheValueToTheBit) {
  constexpr int64_t kRows = 8;
  constexpr int64_t kColumns = 512;
  for (const TensorType type : {TensorType::kQ8_0, TensorType::kQ4_0, TensorType::kQ4_1, TensorType::kQ4_K,
                                TensorType::kQ5_K, TensorType::kQ6_K}) {
    SCOPED_TRACE(TensorTypeName(type));
    const std::vector<uint8_t> bytes = RandomBytes(kRows * RowBytes(type, kColumns), 3);
    for (const int64_t heads : {0, 2}) {
      TensorView view = View(type, {kRows, kColumns}, bytes);
      view.interleaved_heads = heads;
      const kernels::WeightFormat format = NativeFormat(view).value();
      for (int64_t begin = 0; begin < kColumns; begin += format.group) {
        ASSERT_NO_FATAL_FAILURE(ExpectSameValues(view, format, 1, kRows, begin, kColumns));
        ASSERT_NO_FATAL_FAILURE(ExpectSameValues(view, format, 0, 3, 0, begin));
      }
    }
  }
}

TEST(ReadQuantized, FloatsHaveNoNativeFormat) {
  const std::vector<uint8_t> bytes(64);
  for (const TensorType type : {TensorType::kF32, TensorType::kF16, TensorType::kBF16}) {
    EXPECT_EQ(NativeFormat(View(type, {4, 4}, bytes)), std::nullopt);
  }
}

}  // namespace
}  // namespace slmmesh
