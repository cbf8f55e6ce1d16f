// Eight columns in a register. AVX2 has no dot product of bytes: vpmaddubsw adds pairs of unsigned times signed bytes
// in 16 bits, saturating, and vpmaddwd pairs of those. |q| <= 128 with the sign moved to x, or a nibble, times |x| <=
// 127 cannot saturate.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace slmmesh::kernels::avx2 {

struct IntegerUnit {
  static constexpr int kLanes = 8;
  static constexpr bool kInt8IsSigned = true;
  using Int = __m256i;
  using Float = __m256;
  using Weights = __m256i;
  using Activations = __m256i;

  static Int SplatInt(int32_t value) { return _mm256_set1_epi32(value); }
  static Int ShiftLeft(Int v, int32_t bits) { return _mm256_sll_epi32(v, _mm_cvtsi32_si128(bits)); }
  static Float ToFloat(Int v) { return _mm256_cvtepi32_ps(v); }
  static Float SplatFloat(float value) { return _mm256_set1_ps(value); }
  static Float LoadFloat(const float* p) { return _mm256_loadu_ps(p); }
  static Float LoadHalf(const uint16_t* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static void StoreFloat(Float v, float* p) { _mm256_storeu_ps(p, v); }
  static Float Add(Float a, Float b) { return _mm256_add_ps(a, b); }
  static Float Multiply(Float a, Float b) { return _mm256_mul_ps(a, b); }
  static Float Fma(Float a, Float b, Float c) { return _mm256_fmadd_ps(a, b, c); }

  static __m256i Load(const char* p) { return _mm256_load_si256(reinterpret_cast<const __m256i*>(p)); }
  static Weights LoadInt8(const char* p) { return _mm256_xor_si256(Load(p), _mm256_set1_epi8(-128)); }
  static Weights LoadLow(const char* p) { return _mm256_and_si256(Load(p), _mm256_set1_epi8(15)); }
  static Weights LoadHigh(const char* p) {
    return _mm256_and_si256(_mm256_srli_epi16(Load(p), 4), _mm256_set1_epi8(15));
  }
  static Activations LoadActivations(const int8_t* p) {
    return _mm256_set1_epi32(*reinterpret_cast<const int32_t*>(p));
  }
  template <bool kInt8>
  [[gnu::always_inline]] static void Dot(Int& sum, Weights w, Activations x) {
    const __m256i pairs =
        kInt8 ? _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w)) : _mm256_maddubs_epi16(w, x);
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
};

}  // namespace slmmesh::kernels::avx2
