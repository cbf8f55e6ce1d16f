// fp32 to stored floats of 16 and 8 bits: to the nearest, ties to even.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "worker/checkpoint/half.h"

namespace slmmesh {

// Finite values beyond fp16's range become its largest.
inline uint16_t RoundToHalf(float value) {
  const float magnitude = std::min(std::fabs(value), 65504.0f);
  const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  if (magnitude < 0x1p-14f) {  // subnormal: a multiple of 2^-24, which the sum rounds to
    const float sum = magnitude + 0.5f;
    uint32_t bits;
    std::memcpy(&bits, &sum, sizeof bits);
    return static_cast<uint16_t>(sign | (bits & 0x7fffu));
  }
  uint32_t bits;
  std::memcpy(&bits, &magnitude, sizeof bits);
  bits += 0xfffu + ((bits >> 13) & 1);
  return static_cast<uint16_t>(sign | ((bits >> 13) - (112u << 10)));
}

inline uint16_t RoundToBFloat(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1)) >> 16);
}

// FP8. Finite values beyond its range become its largest, 448.
inline uint8_t RoundToE4M3(float value) {
  const float magnitude = std::min(std::fabs(value), 448.0f);
  const uint8_t sign = std::signbit(value) ? 0x80 : 0;
  if (magnitude < 0x1p-6f) {  // subnormal: a multiple of 2^-9, which the sum rounds to
    const float sum = magnitude + 0x1p14f;
    uint32_t bits;
    std::memcpy(&bits, &sum, sizeof bits);
    return static_cast<uint8_t>(sign | (bits & 0x7fu));
  }
  uint32_t bits;
  std::memcpy(&bits, &magnitude, sizeof bits);
  bits += 0x7ffffu + ((bits >> 20) & 1);
  return static_cast<uint8_t>(sign | ((bits >> 20) - (120u << 3)));
}

}  // namespace slmmesh
