// Quantizes one row of activations over one leaf (weight_format.h). Written over short vectors of the compiler's, which
// every instruction set has in its own width; static, so that each file that includes this keeps its own.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

#include "kernels/cpu/integer_layout.h"
#include "kernels/cpu/kernel_table.h"

namespace slmmesh::kernels {

template <int kBlock>
class RowQuantizer {
 public:
  static float Run(const float* x, int64_t count, QuantizedBlocks out) {
    const int64_t blocks = count / kBlock;
    int32_t largest = 0;
    for (int64_t b = 0; b < blocks; ++b) {
      out.shifts[b] = LargestBits(x + b * kBlock);
      largest = out.shifts[b] > largest ? out.shifts[b] : largest;
    }
    const float a = std::bit_cast<float>(largest);
    const float scale = a / 127.0f / static_cast<float>(1 << kMaxShift);
    if (!(a >= 0x1p-100f && a <= 0x1.fffffep127f)) {
      std::memset(out.quants, 0, count);
      std::memset(out.sums, 0, blocks * sizeof(int32_t));
      std::memset(out.shifts, 0, blocks * sizeof(int32_t));
      return scale;
    }
    const float inverse = 127.0f / a;
    for (int64_t b = 0; b < blocks; ++b) {
      // Of positive floats the bits are ordered as the numbers, and 2^23 of them are a power of two.
      const int32_t powers = (largest - out.shifts[b]) >> 23;
      const int32_t shift = powers < kMaxShift ? powers : kMaxShift;
      const float factor = inverse * std::bit_cast<float>((127 + shift) << 23);
      out.sums[b] = Quantize(x + b * kBlock, factor, out.quants + b * kBlock);
      out.shifts[b] = kMaxShift - shift;
    }
    return scale;
  }

 private:
  typedef int32_t Four __attribute__((vector_size(16)));
  typedef int32_t Eight __attribute__((vector_size(32)));
  typedef float EightFloats __attribute__((vector_size(32)));

  // The bits of the largest magnitude.
  [[gnu::always_inline]] static int32_t LargestBits(const float* x) {
    Eight largest = {};
    for (int i = 0; i < kBlock; i += 8) {
      Eight bits;
      std::memcpy(&bits, x + i, sizeof(bits));
      bits &= 0x7fffffff;
      largest = largest > bits ? largest : bits;
    }
    Four four[2];
    std::memcpy(four, &largest, sizeof(four));
    four[0] = four[0] > four[1] ? four[0] : four[1];
    const Four two = __builtin_shufflevector(four[0], four[0], 2, 3, 0, 1);
    four[0] = four[0] > two ? four[0] : two;
    return four[0][0] > four[0][1] ? four[0][0] : four[0][1];
  }

  // Returns the sum of the quants.
  [[gnu::always_inline]] static int32_t Quantize(const float* x, float factor, int8_t* quants) {
    // Adding 1.5 * 2^23 rounds to an integer, to nearest even, and leaves it in the low bits.
    constexpr float kMagic = 12582912.0f;
    int32_t rounded[kBlock];
    Eight sums = {};
    for (int i = 0; i < kBlock; i += 8) {
      EightFloats v;
      std::memcpy(&v, x + i, sizeof(v));
      v = v * factor + kMagic;
      const Eight eight = std::bit_cast<Eight>(v) - std::bit_cast<int32_t>(kMagic);
      sums += eight;
      std::memcpy(rounded + i, &eight, sizeof(eight));
    }
    for (int i = 0; i < kBlock; ++i) quants[i] = static_cast<int8_t>(rounded[i]);
    Four four[2];
    std::memcpy(four, &sums, sizeof(four));
    four[0] += four[1];
    return four[0][0] + four[0][1] + four[0][2] + four[0][3];
  }
};

static float QuantizeRow(const float* x, int64_t count, int64_t block, QuantizedBlocks out) {
  return block == 16 ? RowQuantizer<16>::Run(x, count, out) : RowQuantizer<32>::Run(x, count, out);
}

}  // namespace slmmesh::kernels
