// Quantizes one row of activations over one leaf (weight_format.h). Plain loops that the compiler vectorises for the
// instruction set of the file that includes this; static, so that each keeps its own.
#pragma once

#include <bit>
#include <cstdint>

namespace slmmesh::kernels {

static float QuantizeRow(const float* x, int64_t count, int64_t group, int8_t* x8, int32_t* sums) {
  int32_t largest = 0;
  for (int64_t i = 0; i < count; ++i) {
    const int32_t bits = std::bit_cast<int32_t>(x[i]) & 0x7fffffff;
    largest = bits > largest ? bits : largest;
  }
  const float maximum = std::bit_cast<float>(largest);
  const float inverse = maximum >= 0x1p-100f && maximum <= 0x1.fffffep127f ? 127.0f / maximum : 0.0f;
  // Adding 1.5 * 2^23 rounds to an integer, to nearest even, and leaves it in the low bits.
  for (int64_t i = 0; i < count; ++i) x8[i] = static_cast<int8_t>(std::bit_cast<int32_t>(x[i] * inverse + 12582912.0f));
  for (int64_t g = 0; g < count / group; ++g) {
    int32_t sum = 0;
    for (int64_t i = g * group; i < (g + 1) * group; ++i) sum += x8[i];
    sums[g] = sum;
  }
  return maximum / 127.0f;
}

}  // namespace slmmesh::kernels
