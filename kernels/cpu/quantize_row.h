// Quantizes one row of activations over one leaf (weight_format.h). Plain loops that the compiler vectorises for the
// instruction set of the file that includes this; static, so that each keeps its own.
#pragma once

#include <bit>
#include <cstdint>

#include "kernels/cpu/integer_layout.h"
#include "kernels/cpu/kernel_table.h"

namespace slmmesh::kernels {

template <int kBlock>
static float QuantizeBlocks(const float* x, int64_t count, QuantizedBlocks out) {
  int32_t largest = 0;
  for (int64_t b = 0; b < count / kBlock; ++b) {
    int32_t block_largest = 0;
    for (int64_t i = b * kBlock; i < (b + 1) * kBlock; ++i) {
      const int32_t bits = std::bit_cast<int32_t>(x[i]) & 0x7fffffff;
      block_largest = bits > block_largest ? bits : block_largest;
    }
    out.shifts[b] = block_largest;
    largest = block_largest > largest ? block_largest : largest;
  }
  const float a = std::bit_cast<float>(largest);
  const float inverse = a >= 0x1p-100f && a <= 0x1.fffffep127f ? 127.0f / a : 0.0f;
  for (int64_t b = 0; b < count / kBlock; ++b) {
    // Of positive floats the bits are ordered as the numbers, and 2^23 of them are a power of two.
    const int32_t powers = (largest - out.shifts[b]) >> 23;
    const int32_t shift = powers < kMaxShift ? powers : kMaxShift;
    const float factor = inverse * static_cast<float>(1 << shift);
    int8_t* x8 = out.quants + b * kBlock;
    // Adding 1.5 * 2^23 rounds to an integer, to nearest even, and leaves it in the low bits.
    for (int i = 0; i < kBlock; ++i) {
      x8[i] = static_cast<int8_t>(std::bit_cast<int32_t>(x[b * kBlock + i] * factor + 12582912.0f));
    }
    int32_t sum = 0;
    for (int i = 0; i < kBlock; ++i) sum += x8[i];
    out.sums[b] = sum;
    out.shifts[b] = kMaxShift - shift;
  }
  return a / 127.0f / static_cast<float>(1 << kMaxShift);
}

static float QuantizeRow(const float* x, int64_t count, int64_t block, QuantizedBlocks out) {
  return block == 16 ? QuantizeBlocks<16>(x, count, out) : QuantizeBlocks<32>(x, count, out);
}

}  // namespace slmmesh::kernels
