// AVX-512 VNNI: vpdpbusd multiplies and adds 64 pairs of bytes.
#include <immintrin.h>

#include "kernels/cpu/integer_tile.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/quantize_row.h"

namespace slmmesh::kernels {
namespace {

struct Unit {
  static constexpr int kLanes = 16;
  static constexpr bool kInt8IsSigned = false;
  using Int = __m512i;
  using Float = __m512;
  using Weights = __m512i;
  using Activations = __m512i;

  static Int SplatInt(int32_t value) { return _mm512_set1_epi32(value); }
  static Int ShiftLeft(Int v, int32_t bits) { return _mm512_sllv_epi32(v, _mm512_set1_epi32(bits)); }
  static Float ToFloat(Int v) { return _mm512_cvtepi32_ps(v); }
  static Float SplatFloat(float value) { return _mm512_set1_ps(value); }
  static Float LoadFloat(const float* p) { return _mm512_loadu_ps(p); }
  static Float LoadHalf(const uint16_t* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static void StoreFloat(Float v, float* p) { _mm512_storeu_ps(p, v); }
  static Float Add(Float a, Float b) { return _mm512_add_ps(a, b); }
  static Float Multiply(Float a, Float b) { return _mm512_mul_ps(a, b); }
  static Float Fma(Float a, Float b, Float c) { return _mm512_fmadd_ps(a, b, c); }

  static Weights LoadInt8(const char* p) {
    Weights w = _mm512_load_si512(p);
    asm("" : "+v"(w));  // else g++ loads it again for every row
    return w;
  }
  static Weights LoadLow(const char* p) { return _mm512_and_si512(_mm512_load_si512(p), _mm512_set1_epi8(15)); }
  static Weights LoadHigh(const char* p) {
    return _mm512_and_si512(_mm512_srli_epi16(_mm512_load_si512(p), 4), _mm512_set1_epi8(15));
  }
  static Weights Widen(Weights nibbles, int offset) {
    return _mm512_add_epi8(nibbles, _mm512_set1_epi8(static_cast<char>(offset)));
  }
  static void Store(Weights w, char* p) { _mm512_store_si512(p, w); }
  static Activations LoadActivations(const int8_t* p) {
    return _mm512_set1_epi32(*reinterpret_cast<const int32_t*>(p));
  }
  // g++ spills the sums when it schedules the intrinsic itself.
  template <bool kInt8>
  [[gnu::always_inline]] static void Dot(Int& sum, Weights w, Activations x) {
    asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(w), "v"(x));
  }

  // The fewer loads of a stream are under way, the further ahead hardware fetches it (Zen 4: 6 % faster with a scale a
  // row, 2 % in groups of 32; int4 has enough to do). Three cycles; a step waits for memory 20 times as long.
  static void Pace() { asm volatile(".rept 16\n nop\n .endr"); }
};

template <int kRows>
using Tile = IntegerTile<Unit, kRows, 4>;

const IntegerKernels kInteger = {
    .quantize = QuantizeRow,
    .int8_per_row = {3,
                     {Tile<1>::Int8PerRow, Tile<2>::Int8PerRow, Tile<3>::Int8PerRow, Tile<4>::StreamInt8PerRow,
                      Tile<5>::StreamInt8PerRow, Tile<6>::StreamInt8PerRow},
                     6},
    .int8_groups = {3,
                    {Tile<1>::Int8Groups, Tile<2>::Int8Groups, Tile<3>::Int8Groups, Tile<4>::StreamInt8Groups,
                     Tile<5>::StreamInt8Groups, Tile<6>::StreamInt8Groups},
                    6},
    .int4_groups = {3, {Tile<1>::Int4Groups, Tile<2>::Int4Groups, Tile<3>::Int4Groups}},
    .widen = Tile<1>::Widen,
};

}  // namespace

const KernelTable& Avx512VnniKernels() {
  static const KernelTable table = [] {
    KernelTable result = Avx512Kernels();
    result.isa = Isa::kAvx512Vnni;
    result.integer = kInteger;
    return result;
  }();
  return table;
}

}  // namespace slmmesh::kernels
