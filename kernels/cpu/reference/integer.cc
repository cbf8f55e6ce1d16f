// The definition of integer products (weight_format.h), read off line by line.
#include <bit>
#include <cmath>

#include "kernels/cpu/half.h"
#include "kernels/cpu/integer_layout.h"
#include "kernels/cpu/kernel_table.h"

namespace slmmesh::kernels {
namespace {

float Quantize(const float* x, int64_t count, int64_t group, int8_t* x8, int32_t* sums) {
  uint32_t bits = 0;
  for (int64_t i = 0; i < count; ++i) bits = std::max(bits, std::bit_cast<uint32_t>(std::fabs(x[i])));
  const float a = std::bit_cast<float>(bits);
  const float inverse = a >= 0x1p-100f && std::isfinite(a) ? 127.0f / a : 0.0f;
  for (int64_t g = 0; g < count / group; ++g) sums[g] = 0;
  for (int64_t i = 0; i < count; ++i) {
    x8[i] = inverse == 0.0f ? int8_t{0} : static_cast<int8_t>(std::nearbyint(x[i] * inverse));
    sums[i / group] += x8[i];
  }
  return a / 127.0f;
}

float Scale(const char* scales, ScaleType type, int64_t column) {
  if (type == ScaleType::kFloat32) return reinterpret_cast<const float*>(scales)[column];
  return HalfToFloat(reinterpret_cast<const uint16_t*>(scales)[column]);
}

// q of k (within the group) and a column.
int32_t Quant(const WeightFormat& format, const uint8_t* quants, int64_t k, int64_t column) {
  if (format.type == WeightType::kInt8) return quants[(k / 4 * kPanelColumns + column) * 4 + k % 4] - kInt8Offset;
  const uint8_t both = quants[(k / 8 * kPanelColumns + column) * 4 + k % 4];
  return (k % 8 < 4 ? both & 15 : both >> 4) - Int4Offset(format);
}

template <int kRows>
int32_t Sum(const IntegerTileArgs& args, const char* quants, const int8_t* x, int64_t count, int row, int64_t column) {
  int32_t sum = 0;
  for (int64_t k = 0; k < count; ++k) {
    sum += Quant(*args.format, reinterpret_cast<const uint8_t*>(quants), k, column) * x[(k / 4 * kRows + row) * 4 + k % 4];
  }
  return sum;
}

template <int kRows>
void Int8PerRow(const IntegerTileArgs& args) {
  for (int r = 0; r < kRows; ++r) {
    for (int64_t column = 0; column < kPanelColumns; ++column) {
      float* stored = args.sums + r * kPanelColumns + column;
      int32_t sum = Sum<kRows>(args, args.weights, args.x, args.k, r, column);
      if (args.resume) sum += std::bit_cast<int32_t>(*stored);
      *stored = args.x_scales == nullptr
                    ? std::bit_cast<float>(sum)
                    : std::fma(static_cast<float>(sum), Scale(args.scales, ScaleType::kFloat32, column), 0.0f) *
                          args.x_scales[r];
    }
  }
}

template <int kRows>
void Groups(const IntegerTileArgs& args) {
  const IntegerLayout layout(*args.format, args.k);
  for (int r = 0; r < kRows; ++r) {
    for (int64_t column = 0; column < kPanelColumns; ++column) {
      float* stored = args.sums + r * kPanelColumns + column;
      float sum = args.resume ? *stored : 0.0f;
      for (int64_t g = 0; g < layout.groups(); ++g) {
        const char* header = args.weights + g * layout.group_bytes();
        const int8_t* x = args.x + g * layout.group() * kRows;
        const int32_t dot = Sum<kRows>(args, header + layout.header_bytes(), x, layout.group(), r, column);
        sum = std::fma(static_cast<float>(dot), Scale(header, args.format->scale_type, column), sum);
        if (!args.format->has_minima) continue;
        const float minimum = Scale(header + layout.scale_bytes(), args.format->scale_type, column);
        sum = std::fma(static_cast<float>(args.x_sums[g * kRows + r]), minimum, sum);
      }
      *stored = args.x_scales == nullptr ? sum : sum * args.x_scales[r];
    }
  }
}

}  // namespace

const IntegerKernels& ReferenceIntegerKernels() {
  static const IntegerKernels kernels = {
      .quantize = Quantize,
      .int8_per_row = {2, {Int8PerRow<1>, Int8PerRow<2>}},
      .int8_groups = {2, {Groups<1>, Groups<2>}},
      .int4_groups = {2, {Groups<1>, Groups<2>}},
  };
  return kernels;
}

}  // namespace slmmesh::kernels
