// The definition of integer products (weight_format.h), read off line by line.
#include <bit>
#include <cmath>

#include "kernels/cpu/half.h"
#include "kernels/cpu/integer_layout.h"
#include "kernels/cpu/kernel_table.h"

namespace slmmesh::kernels {
namespace {

float LargestMagnitude(const float* x, int64_t count) {
  uint32_t bits = 0;
  for (int64_t i = 0; i < count; ++i) bits = std::max(bits, std::bit_cast<uint32_t>(std::fabs(x[i])));
  return std::bit_cast<float>(bits);
}

float Quantize(const float* x, int64_t count, int64_t block, QuantizedBlocks out) {
  const float a = LargestMagnitude(x, count);
  const float inverse = a >= 0x1p-100f && std::isfinite(a) ? 127.0f / a : 0.0f;
  for (int64_t b = 0; b < count / block; ++b) {
    const float largest = LargestMagnitude(x + b * block, block);
    int shift = 0;
    while (shift < kMaxShift && std::ldexp(largest, shift + 1) <= a) ++shift;
    out.shifts[b] = kMaxShift - shift;
    out.sums[b] = 0;
    for (int64_t i = b * block; i < (b + 1) * block; ++i) {
      const float factor = inverse * std::ldexp(1.0f, shift);
      out.quants[i] = inverse == 0.0f ? int8_t{0} : static_cast<int8_t>(std::nearbyint(x[i] * factor));
      out.sums[b] += out.quants[i];
    }
  }
  return a / 127.0f / 128.0f;
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

// Block b's products of one row and column; its first q is `quants`, k = first of the group.
float BlockSum(const IntegerTileArgs& args, const char* quants, int64_t first, int64_t b, int row, int64_t column) {
  const int64_t block = IntegerLayout(*args.format, args.k).block();
  int32_t sum = 0;
  for (int64_t k = b * block; k < (b + 1) * block; ++k) {
    sum += Quant(*args.format, reinterpret_cast<const uint8_t*>(quants), k - first, column) *
           args.x[row * args.x_stride + k];
  }
  return static_cast<float>(sum * (1 << args.x_shifts[row * args.x_block_stride + b]));
}

template <int kRows>
void Int8PerRow(const IntegerTileArgs& args) {
  const IntegerLayout layout(*args.format, args.k);
  for (int r = 0; r < kRows; ++r) {
    for (int64_t column = 0; column < kPanelColumns; ++column) {
      float* stored = args.sums + r * kPanelColumns + column;
      float sum = args.resume ? *stored : 0.0f;
      for (int64_t b = 0; b < args.k / layout.block(); ++b) sum += BlockSum(args, args.weights, 0, b, r, column);
      *stored =
          args.x_scales == nullptr ? sum : sum * Scale(args.scales, ScaleType::kFloat32, column) * args.x_scales[r];
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
      for (int64_t b = 0; b < args.k / layout.block(); ++b) {
        const int64_t g = b * layout.block() / layout.group();
        const char* header = args.weights + g * layout.group_bytes();
        const float dot = BlockSum(args, header + layout.header_bytes(), g * layout.group(), b, r, column);
        sum = std::fma(dot, Scale(header, args.format->scale_type, column), sum);
        if (!args.format->has_minima) continue;
        const float minimum = Scale(header + layout.scale_bytes(), args.format->scale_type, column);
        const int64_t x_block = r * args.x_block_stride + b;
        const int32_t x_sum = args.x_sums[x_block] * (1 << args.x_shifts[x_block]);
        sum = std::fma(static_cast<float>(x_sum), minimum, sum);
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
