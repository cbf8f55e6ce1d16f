// IEEE binary16, in plain C++.
#pragma once

#include <bit>
#include <cstdint>

namespace slmmesh::kernels {

// Exact; subnormals, infinities and NaN included.
inline float HalfToFloat(uint16_t half) {
  const uint32_t magnitude = half & 0x7fffu;
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
  uint32_t bits = (magnitude << 13) + (112u << 23);
  if (magnitude >= 0x7c00u) bits = (magnitude << 13) | 0x7f800000u;
  if (magnitude < 0x0400u)
    bits = std::bit_cast<uint32_t>(static_cast<float>(static_cast<int32_t>(magnitude)) * 0x1p-24f);
  return std::bit_cast<float>(bits | sign);
}

// To nearest even; beyond the range, infinity; a NaN stays one.
inline uint16_t FloatToHalf(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint16_t sign = static_cast<uint16_t>(bits >> 16 & 0x8000u);
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return sign | 0x7e00u;
  if (magnitude >= 0x477ff000u) return sign | 0x7c00u;  // rounds to 2^16 or more
  if (magnitude < 0x38800000u) {                        // subnormal: in units of 2^-24, rounded by the addition
    const float units = std::bit_cast<float>(magnitude) * 0x1p24f + 12582912.0f;
    return sign | static_cast<uint16_t>(std::bit_cast<uint32_t>(units) & 0x7ffu);
  }
  const uint32_t rounded = magnitude + 0xfffu + (magnitude >> 13 & 1u);
  return sign | static_cast<uint16_t>((rounded >> 13) - (112u << 10));
}

}  // namespace slmmesh::kernels
