// Sixteen floats in one register. See reference/vec16.h for what each operation means.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/cpu/bfloat16.h"

namespace slmmesh::kernels::avx512 {

struct Vec16 {
  static constexpr int kAttentionTileRows = 6;
  static constexpr int kAttentionTileColumns = 4;

  __m512 v;

  static Vec16 Splat(float value) { return {_mm512_set1_ps(value)}; }
  static Vec16 Load(const float* p) { return {_mm512_loadu_ps(p)}; }
  static Vec16 LoadFirst(const float* p, int64_t count) { return {_mm512_maskz_loadu_ps(FirstLanes(count), p)}; }
  static Vec16 Load(const BFloat16* p) {
    const __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16))};
  }
  static Vec16 LoadEven(const BFloat16* p) {
    return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(p), 16))};
  }
  static Vec16 LoadOdd(const BFloat16* p) {
    return {_mm512_castsi512_ps(_mm512_and_si512(_mm512_loadu_si512(p), _mm512_set1_epi32(~0xffff)))};
  }
  void Store(float* p) const { _mm512_storeu_ps(p, v); }
  void StoreFirst(float* p, int64_t count) const { _mm512_mask_storeu_ps(p, FirstLanes(count), v); }

  static __mmask16 FirstLanes(int64_t count) { return static_cast<__mmask16>((1u << count) - 1); }
};

inline Vec16 operator+(Vec16 a, Vec16 b) { return {_mm512_add_ps(a.v, b.v)}; }
inline Vec16 operator-(Vec16 a, Vec16 b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline Vec16 operator*(Vec16 a, Vec16 b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline Vec16 operator/(Vec16 a, Vec16 b) { return {_mm512_div_ps(a.v, b.v)}; }
inline Vec16 Fma(Vec16 a, Vec16 b, Vec16 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
inline Vec16 Max(Vec16 a, Vec16 b) { return {_mm512_max_ps(a.v, b.v)}; }
inline Vec16 Min(Vec16 a, Vec16 b) { return {_mm512_min_ps(a.v, b.v)}; }
inline bool AnyGreater(Vec16 a, Vec16 b) { return _mm512_cmp_ps_mask(a.v, b.v, _CMP_GT_OQ) != 0; }
inline Vec16 PowerOfTwo(Vec16 a) {
  const __m512i exponent = _mm512_slli_epi32(_mm512_castps_si512(a.v), 23);
  return {_mm512_castsi512_ps(_mm512_add_epi32(exponent, _mm512_set1_epi32(0x3f800000)))};
}
inline Vec16 KeepLanes(Vec16 a, int begin, int end, Vec16 other) {
  const __mmask16 lanes = Vec16::FirstLanes(end) & ~Vec16::FirstLanes(begin);
  return {_mm512_mask_blend_ps(lanes, other.v, a.v)};
}
inline __m256 UpperHalf(__m512 v) { return _mm512_extractf32x8_ps(v, 1); }
inline float Sum(Vec16 a) {
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(a.v), UpperHalf(a.v));
  __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  four = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
}
inline float Largest(Vec16 a) {
  const __m256 eight = _mm256_max_ps(_mm512_castps512_ps256(a.v), UpperHalf(a.v));
  __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  four = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four)));
}

}  // namespace slmmesh::kernels::avx512
