// Stored floats of 16 and 8 bits to fp32, exactly.
#pragma once

#include <cstdint>
#include <cstring>

namespace slmmesh {

inline float FloatFromBits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

inline uint16_t LoadU16(const uint8_t* bytes) {
  uint16_t value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

// Without branches, and exact for subnormals also when the processor flushes them to zero.
inline float HalfToFloat(uint16_t half) {
  const uint32_t magnitude = half & 0x7fffu;
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
  const uint32_t normal = (magnitude << 13) + (112u << 23);
  const float subnormal_value = static_cast<float>(static_cast<int32_t>(magnitude)) * 0x1p-24f;
  uint32_t subnormal;
  std::memcpy(&subnormal, &subnormal_value, sizeof subnormal);
  const uint32_t special = (magnitude << 13) | 0x7f800000u;
  const uint32_t finite = magnitude < 0x0400u ? subnormal : normal;
  return FloatFromBits((magnitude >= 0x7c00u ? special : finite) | sign);
}

// FP8: four bits of exponent, three of mantissa; no infinity, one NaN of either sign.
inline float E4M3ToFloat(uint8_t bits) {
  const uint32_t magnitude = bits & 0x7fu;
  const uint32_t sign = static_cast<uint32_t>(bits & 0x80u) << 24;
  const float subnormal_value = static_cast<float>(static_cast<int32_t>(magnitude)) * 0x1p-9f;
  uint32_t subnormal;
  std::memcpy(&subnormal, &subnormal_value, sizeof subnormal);
  const uint32_t normal = (magnitude << 20) + (120u << 23);
  const uint32_t finite = magnitude < 8 ? subnormal : normal;
  return FloatFromBits((magnitude == 0x7f ? 0x7fc00000u : finite) | sign);
}

inline float BFloatToFloat(uint16_t bits) { return FloatFromBits(static_cast<uint32_t>(bits) << 16); }

}  // namespace slmmesh
