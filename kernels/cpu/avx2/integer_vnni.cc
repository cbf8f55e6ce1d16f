// AVX-VNNI: vpdpbusd on the registers of AVX2.
#include "kernels/cpu/avx2/integer_unit.h"
#include "kernels/cpu/integer_tile.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/quantize_row.h"

namespace slmmesh::kernels {
namespace {

struct Unit : avx2::IntegerUnit {
  static constexpr bool kInt8IsSigned = false;
  static Weights LoadInt8(const char* p) { return Load(p); }
  static Weights Widen(Weights nibbles, int offset) {
    return _mm256_add_epi8(nibbles, _mm256_set1_epi8(static_cast<char>(offset)));
  }
  static void Store(Weights w, char* p) { _mm256_store_si256(reinterpret_cast<__m256i*>(p), w); }
  template <bool kInt8>
  [[gnu::always_inline]] static void Dot(Int& sum, Weights w, Activations x) {
    sum = _mm256_dpbusd_avx_epi32(sum, w, x);
  }
};

template <int kRows>
using Tile = IntegerTile<Unit, kRows, 4>;

const IntegerKernels kInteger = {
    .quantize = QuantizeRow,
    .int8_per_row = {2, {Tile<1>::Int8PerRow, Tile<2>::Int8PerRow}},
    .int8_groups = {2, {Tile<1>::Int8Groups, Tile<2>::Int8Groups}},
    .int4_groups = {2, {Tile<1>::Int4Groups, Tile<2>::Int4Groups}},
    .widen = Tile<1>::Widen,
};

}  // namespace

const KernelTable& AvxVnniKernels() {
  static const KernelTable table = [] {
    KernelTable result = Avx2Kernels();
    result.isa = Isa::kAvxVnni;
    result.integer = kInteger;
    return result;
  }();
  return table;
}

}  // namespace slmmesh::kernels
