// Sixteen floats in plain C++: the definition that the vector units must match bit by bit.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "kernels/cpu/bfloat16.h"

namespace slmmesh::kernels::reference {

struct Vec16 {
  static constexpr int kAttentionTileRows = 4;     // rows of queries in registers at once
  static constexpr int kAttentionTileColumns = 1;  // vectors of values in registers at once

  float lane[16];

  template <typename F>
  static Vec16 Each(F f) {
    Vec16 result;
    for (int i = 0; i < 16; ++i) result.lane[i] = f(i);
    return result;
  }
  static Vec16 Splat(float value) {
    return Each([&](int) { return value; });
  }
  static Vec16 Load(const float* p) {
    return Each([&](int i) { return p[i]; });
  }
  static Vec16 LoadFirst(const float* p, int64_t count) {  // the other lanes are zero
    return Each([&](int i) { return i < count ? p[i] : 0.0f; });
  }
  static Vec16 Load(const BFloat16* p) {
    return Each([&](int i) { return Bf16ToFloat(p[i]); });
  }
  static Vec16 LoadEven(const BFloat16* p) {
    return Each([&](int i) { return Bf16ToFloat(p[2 * i]); });
  }
  static Vec16 LoadOdd(const BFloat16* p) {
    return Each([&](int i) { return Bf16ToFloat(p[2 * i + 1]); });
  }
  void Store(float* p) const { StoreFirst(p, 16); }
  void StoreFirst(float* p, int64_t count) const {
    for (int i = 0; i < count; ++i) p[i] = lane[i];
  }
};

inline Vec16 operator+(Vec16 a, Vec16 b) {
  return Vec16::Each([&](int i) { return a.lane[i] + b.lane[i]; });
}
inline Vec16 operator-(Vec16 a, Vec16 b) {
  return Vec16::Each([&](int i) { return a.lane[i] - b.lane[i]; });
}
inline Vec16 operator*(Vec16 a, Vec16 b) {
  return Vec16::Each([&](int i) { return a.lane[i] * b.lane[i]; });
}
inline Vec16 operator/(Vec16 a, Vec16 b) {
  return Vec16::Each([&](int i) { return a.lane[i] / b.lane[i]; });
}
inline Vec16 Fma(Vec16 a, Vec16 b, Vec16 c) {  // a * b + c, rounded once
  return Vec16::Each([&](int i) { return std::fma(a.lane[i], b.lane[i], c.lane[i]); });
}
// As x86 has them: b unless a is truly beyond it, so a NaN in b stays.
inline Vec16 Max(Vec16 a, Vec16 b) {
  return Vec16::Each([&](int i) { return a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]; });
}
inline Vec16 Min(Vec16 a, Vec16 b) {
  return Vec16::Each([&](int i) { return a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i]; });
}
inline bool AnyGreater(Vec16 a, Vec16 b) {
  for (int i = 0; i < 16; ++i) {
    if (a.lane[i] > b.lane[i]) return true;
  }
  return false;
}
// 2^n, where n is the integer in the low bits of a.
inline Vec16 PowerOfTwo(Vec16 a) {
  return Vec16::Each(
      [&](int i) { return std::bit_cast<float>((std::bit_cast<uint32_t>(a.lane[i]) << 23) + 0x3f800000u); });
}
// a in lanes [begin, end), `other` elsewhere.
inline Vec16 KeepLanes(Vec16 a, int begin, int end, Vec16 other) {
  return Vec16::Each([&](int i) { return i >= begin && i < end ? a.lane[i] : other.lane[i]; });
}
// Lane i joins lane i + 8, then i + 4, i + 2, i + 1.
template <typename F>
float Fold(Vec16 a, F join) {
  for (int half = 8; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) a.lane[i] = join(a.lane[i], a.lane[i + half]);
  }
  return a.lane[0];
}
inline float Sum(Vec16 a) {
  return Fold(a, [](float x, float y) { return x + y; });
}
inline float Largest(Vec16 a) {
  return Fold(a, [](float x, float y) { return x > y ? x : y; });
}

}  // namespace slmmesh::kernels::reference
