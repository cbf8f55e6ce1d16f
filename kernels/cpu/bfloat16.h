// bfloat16 as its 16 bits. Internal linkage on purpose: files with different instruction-set flags include this, and
// the linker must not hand one file's copy to another.
#pragma once

#include <bit>
#include <cstdint>

namespace slmmesh::kernels {

using BFloat16 = uint16_t;

static inline float Bf16ToFloat(BFloat16 value) { return std::bit_cast<float>(static_cast<uint32_t>(value) << 16); }

// Round to nearest, ties to even; a NaN stays a (quiet) NaN.
static inline BFloat16 FloatToBf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<BFloat16>((bits >> 16) | 0x40u);
  return static_cast<BFloat16>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

}  // namespace slmmesh::kernels
