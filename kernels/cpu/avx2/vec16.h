// Sixteen floats in two registers. See reference/vec16.h for what each operation means.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/cpu/bfloat16.h"

namespace slmmesh::kernels::avx2 {

struct Vec16 {
  static constexpr int kAttentionTileRows = 4;
  static constexpr int kAttentionTileColumns = 1;

  __m256 low, high;

  static Vec16 Splat(float value) { return {_mm256_set1_ps(value), _mm256_set1_ps(value)}; }
  static Vec16 Load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
  static Vec16 LoadFirst(const float* p, int64_t count) {
    return {_mm256_maskload_ps(p, FirstLanes(count)), _mm256_maskload_ps(p + 8, FirstLanes(count - 8))};
  }
  static Vec16 Load(const BFloat16* p) {
    const auto widen = [](const BFloat16* eight) {
      const __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(eight));
      return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
    };
    return {widen(p), widen(p + 8)};
  }
  static Vec16 LoadEven(const BFloat16* p) {
    return {_mm256_castsi256_ps(_mm256_slli_epi32(LoadBits(p), 16)),
            _mm256_castsi256_ps(_mm256_slli_epi32(LoadBits(p + 16), 16))};
  }
  static Vec16 LoadOdd(const BFloat16* p) {
    const __m256i upper = _mm256_set1_epi32(~0xffff);
    return {_mm256_castsi256_ps(_mm256_and_si256(LoadBits(p), upper)),
            _mm256_castsi256_ps(_mm256_and_si256(LoadBits(p + 16), upper))};
  }
  void Store(float* p) const {
    _mm256_storeu_ps(p, low);
    _mm256_storeu_ps(p + 8, high);
  }
  void StoreFirst(float* p, int64_t count) const {
    _mm256_maskstore_ps(p, FirstLanes(count), low);
    _mm256_maskstore_ps(p + 8, FirstLanes(count - 8), high);
  }

  static __m256i LoadBits(const BFloat16* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
  static __m256i FirstLanes(int64_t count) {  // of eight; none when negative
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
};

inline Vec16 operator+(Vec16 a, Vec16 b) { return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)}; }
inline Vec16 operator-(Vec16 a, Vec16 b) { return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)}; }
inline Vec16 operator*(Vec16 a, Vec16 b) { return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)}; }
inline Vec16 operator/(Vec16 a, Vec16 b) { return {_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)}; }
inline Vec16 Fma(Vec16 a, Vec16 b, Vec16 c) {
  return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}
inline Vec16 Max(Vec16 a, Vec16 b) { return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)}; }
inline Vec16 Min(Vec16 a, Vec16 b) { return {_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high)}; }
inline bool AnyGreater(Vec16 a, Vec16 b) {
  const __m256 greater =
      _mm256_or_ps(_mm256_cmp_ps(a.low, b.low, _CMP_GT_OQ), _mm256_cmp_ps(a.high, b.high, _CMP_GT_OQ));
  return _mm256_movemask_ps(greater) != 0;
}
inline Vec16 PowerOfTwo(Vec16 a) {
  const auto power = [](__m256 v) {
    const __m256i exponent = _mm256_slli_epi32(_mm256_castps_si256(v), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(exponent, _mm256_set1_epi32(0x3f800000)));
  };
  return {power(a.low), power(a.high)};
}
inline Vec16 KeepLanes(Vec16 a, int begin, int end, Vec16 other) {
  const auto lanes = [&](int base) {
    return _mm256_castsi256_ps(_mm256_andnot_si256(Vec16::FirstLanes(begin - base), Vec16::FirstLanes(end - base)));
  };
  return {_mm256_blendv_ps(other.low, a.low, lanes(0)), _mm256_blendv_ps(other.high, a.high, lanes(8))};
}
inline float Sum(Vec16 a) {
  const __m256 eight = _mm256_add_ps(a.low, a.high);
  __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  four = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
}
inline float Largest(Vec16 a) {
  const __m256 eight = _mm256_max_ps(a.low, a.high);
  __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  four = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four)));
}

}  // namespace slmmesh::kernels::avx2
