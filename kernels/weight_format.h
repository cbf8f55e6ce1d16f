// How a matrix W [n, k] (n output channels) stores its weights.
//
// Integer types: w = scale * q, or scale * q + minimum where the format has minima. One scale (and minimum) belongs to
// one row and `group` consecutive columns. q is -128 … 127 (int8), -8 … 7 (int4), or 0 … 15 (int4 with minima).
//
// The value of a product is defined to the bit, so that every instruction set gives the same. Per row of x and per leaf
// (MatMulArgs), activations are quantized once, in blocks of 32 columns (16 where groups are):
//   a = max over the leaf of |x| (compared as bits: NaN > infinity > numbers), inverse = 127 / a (0 where a is below
//   2^-100 or not finite); b = the same maximum over the block, shift = the largest s <= 7 with b * 2^s <= a;
//   x8 = x * (inverse * 2^shift), rounded to nearest even.
// So a block far below the row's outliers keeps its precision. Then, for the blocks of the leaf in ascending k, from
// sum = 0, with Σ over the block in int32, << by (7 - shift), and float() rounding to nearest even:
//   groups:          sum = fma(float(Σ q * x8 << …), scale, sum), and with minima sum = fma(float(Σ x8 << …), minimum,
//   sum) one scale a row: sum = sum + float(Σ q * x8 << …), at the end sum = sum * scale
// The leaf's value is sum * (a / 127 / 128), so what is not finite gives NaN; leaves are joined by halving as for the
// other types.
#pragma once

#include <cstdint>

namespace slmmesh::kernels {

enum class WeightType : uint8_t { kFloat32, kBFloat16, kInt8, kInt4 };
constexpr int kNumWeightTypes = 4;
enum class ScaleType : uint8_t { kFloat32, kFloat16 };  // of scales and minima

struct WeightFormat {
  WeightFormat(WeightType type = WeightType::kFloat32) : type(type) {}  // implicit: the float types need no more
  WeightFormat(WeightType type, int64_t group, ScaleType scale_type, bool has_minima)
      : type(type), group(group), scale_type(scale_type), has_minima(has_minima) {}

  bool is_integer() const { return type == WeightType::kInt8 || type == WeightType::kInt4; }
  bool operator==(const WeightFormat&) const = default;

  WeightType type;
  // Columns that share a scale: of int8 a multiple of 16, of int4 of 32; it divides k and every leaf's start. Int8 may
  // have 0: one fp32 scale a row, no minima; then k and the starts of leaves are multiples of 32.
  int64_t group = 0;
  ScaleType scale_type = ScaleType::kFloat32;
  bool has_minima = false;
};

// Some rows of a quantized matrix, as a backend packs them.
struct QuantizedRows {
  const int8_t* quants;  // [rows, k]
  const float* scales;   // [rows, k / group], [rows] where group is 0; exact in the format's scale_type
  const float* minima;   // as scales, or null where the format has none
  int64_t rows;
};

}  // namespace slmmesh::kernels
