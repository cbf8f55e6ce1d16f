// Sixteen floats in four registers. See reference/vec16.h for what each operation means.
#pragma once

#include <arm_neon.h>

#include <cstdint>

#include "kernels/cpu/bfloat16.h"

namespace slmmesh::kernels::neon {

struct Vec16 {
  static constexpr int kAttentionTileRows = 4;
  static constexpr int kAttentionTileColumns = 1;

  float32x4_t v[4];

  template <typename F>
  static Vec16 Each(F f) {
    return {{f(0), f(1), f(2), f(3)}};
  }
  static Vec16 Splat(float value) {
    const float32x4_t all = vdupq_n_f32(value);
    return {{all, all, all, all}};
  }
  static Vec16 Load(const float* p) {
    return Each([&](int i) { return vld1q_f32(p + 4 * i); });
  }
  static Vec16 LoadFirst(const float* p, int64_t count) {
    float lanes[16] = {};
    for (int64_t i = 0; i < count; ++i) lanes[i] = p[i];
    return Load(lanes);
  }
  static Vec16 Load(const BFloat16* p) {
    return Each([&](int i) {
      return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(reinterpret_cast<const uint16_t*>(p) + 4 * i), 16));
    });
  }
  static Vec16 LoadEven(const BFloat16* p) {
    return Each([&](int i) { return vreinterpretq_f32_u32(vshlq_n_u32(LoadPairs(p, i), 16)); });
  }
  static Vec16 LoadOdd(const BFloat16* p) {
    return Each([&](int i) { return vreinterpretq_f32_u32(vandq_u32(LoadPairs(p, i), vdupq_n_u32(0xffff0000u))); });
  }
  void Store(float* p) const {
    for (int i = 0; i < 4; ++i) vst1q_f32(p + 4 * i, v[i]);
  }
  void StoreFirst(float* p, int64_t count) const {
    float lanes[16];
    Store(lanes);
    for (int64_t i = 0; i < count; ++i) p[i] = lanes[i];
  }

  static uint32x4_t LoadPairs(const BFloat16* p, int i) {
    return vld1q_u32(reinterpret_cast<const uint32_t*>(p) + 4 * i);
  }
};

inline Vec16 operator+(Vec16 a, Vec16 b) {
  return Vec16::Each([&](int i) { return vaddq_f32(a.v[i], b.v[i]); });
}
inline Vec16 operator-(Vec16 a, Vec16 b) {
  return Vec16::Each([&](int i) { return vsubq_f32(a.v[i], b.v[i]); });
}
inline Vec16 operator*(Vec16 a, Vec16 b) {
  return Vec16::Each([&](int i) { return vmulq_f32(a.v[i], b.v[i]); });
}
inline Vec16 operator/(Vec16 a, Vec16 b) {
  return Vec16::Each([&](int i) { return vdivq_f32(a.v[i], b.v[i]); });
}
inline Vec16 Fma(Vec16 a, Vec16 b, Vec16 c) {
  return Vec16::Each([&](int i) { return vfmaq_f32(c.v[i], a.v[i], b.v[i]); });
}
// Not vmaxq and vminq: they treat NaN otherwise.
inline Vec16 Max(Vec16 a, Vec16 b) {
  return Vec16::Each([&](int i) { return vbslq_f32(vcgtq_f32(a.v[i], b.v[i]), a.v[i], b.v[i]); });
}
inline Vec16 Min(Vec16 a, Vec16 b) {
  return Vec16::Each([&](int i) { return vbslq_f32(vcltq_f32(a.v[i], b.v[i]), a.v[i], b.v[i]); });
}
inline bool AnyGreater(Vec16 a, Vec16 b) {
  uint32x4_t any = vcgtq_f32(a.v[0], b.v[0]);
  for (int i = 1; i < 4; ++i) any = vorrq_u32(any, vcgtq_f32(a.v[i], b.v[i]));
  return vmaxvq_u32(any) != 0;
}
inline Vec16 PowerOfTwo(Vec16 a) {
  return Vec16::Each([&](int i) {
    const uint32x4_t exponent = vshlq_n_u32(vreinterpretq_u32_f32(a.v[i]), 23);
    return vreinterpretq_f32_u32(vaddq_u32(exponent, vdupq_n_u32(0x3f800000u)));
  });
}
inline Vec16 KeepLanes(Vec16 a, int begin, int end, Vec16 other) {
  const int32_t steps[4] = {0, 1, 2, 3};
  return Vec16::Each([&](int i) {
    const int32x4_t lane = vaddq_s32(vld1q_s32(steps), vdupq_n_s32(4 * i));
    const uint32x4_t keep = vandq_u32(vcgeq_s32(lane, vdupq_n_s32(begin)), vcltq_s32(lane, vdupq_n_s32(end)));
    return vbslq_f32(keep, a.v[i], other.v[i]);
  });
}
inline float Sum(Vec16 a) {
  const float32x4_t four = vaddq_f32(vaddq_f32(a.v[0], a.v[2]), vaddq_f32(a.v[1], a.v[3]));
  const float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
  return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}
inline float Largest(Vec16 a) {
  const auto larger = [](float32x4_t x, float32x4_t y) { return vbslq_f32(vcgtq_f32(x, y), x, y); };
  const float32x4_t four = larger(larger(a.v[0], a.v[2]), larger(a.v[1], a.v[3]));
  float lanes[4];
  vst1q_f32(lanes, four);
  const float low = lanes[0] > lanes[2] ? lanes[0] : lanes[2], high = lanes[1] > lanes[3] ? lanes[1] : lanes[3];
  return low > high ? low : high;
}

}  // namespace slmmesh::kernels::neon
