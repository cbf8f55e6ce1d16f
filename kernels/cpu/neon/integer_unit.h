// Four columns in a register. Without the dot-product instructions: products of 8 bits in 16, added up in pairs twice.
#pragma once

#include <arm_neon.h>

#include <cstdint>
#include <cstring>

namespace slmmesh::kernels::neon {

struct IntegerUnit {
  static constexpr int kLanes = 4;
  static constexpr bool kInt8IsSigned = true;
  using Int = int32x4_t;
  using Float = float32x4_t;
  using Weights = int8x16_t;
  using Activations = int8x16_t;

  static Int SplatInt(int32_t value) { return vdupq_n_s32(value); }
  static Int ShiftLeft(Int v, int32_t bits) { return vshlq_s32(v, vdupq_n_s32(bits)); }
  static Float ToFloat(Int v) { return vcvtq_f32_s32(v); }
  static Float SplatFloat(float value) { return vdupq_n_f32(value); }
  static Float LoadFloat(const float* p) { return vld1q_f32(p); }
  static Float LoadHalf(const uint16_t* p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }
  static void StoreFloat(Float v, float* p) { vst1q_f32(p, v); }
  static Float Add(Float a, Float b) { return vaddq_f32(a, b); }
  static Float Multiply(Float a, Float b) { return vmulq_f32(a, b); }
  static Float Fma(Float a, Float b, Float c) { return vfmaq_f32(c, a, b); }

  static uint8x16_t Load(const char* p) { return vld1q_u8(reinterpret_cast<const uint8_t*>(p)); }
  static Weights LoadInt8(const char* p) { return vreinterpretq_s8_u8(veorq_u8(Load(p), vdupq_n_u8(128))); }
  static Weights LoadLow(const char* p) { return vreinterpretq_s8_u8(vandq_u8(Load(p), vdupq_n_u8(15))); }
  static Weights LoadHigh(const char* p) { return vreinterpretq_s8_u8(vshrq_n_u8(Load(p), 4)); }
  static Activations LoadActivations(const int8_t* p) {
    int32_t four;
    std::memcpy(&four, p, sizeof four);
    return vreinterpretq_s8_s32(vdupq_n_s32(four));
  }
  template <bool kInt8>
  [[gnu::always_inline]] static void Dot(Int& sum, Weights w, Activations x) {
    const int32x4_t low = vpaddlq_s16(vmull_s8(vget_low_s8(w), vget_low_s8(x)));
    const int32x4_t high = vpaddlq_s16(vmull_high_s8(w, x));
    sum = vaddq_s32(sum, vpaddq_s32(low, high));
  }
};

}  // namespace slmmesh::kernels::neon
