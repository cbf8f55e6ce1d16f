// AMX beside AVX-512 BF16: tiles of 16 rows by 16 columns. Everything but the matrix products is AVX-512's.
#include <immintrin.h>

#include "kernels/cpu/amx/bf16_rows.h"
#include "kernels/cpu/amx/integer_unit.h"
#include "kernels/cpu/amx/tiles.h"
#include "kernels/cpu/avx512/vec16.h"
#include "kernels/cpu/integer_rows.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/least_rows.h"

namespace slmmesh::kernels {
namespace {

struct Unit : amx::IntegerUnit<amx::Tiles> {
  using Vec16 = avx512::Vec16;
  static Vec16 LoadInts(const int32_t* p) { return {_mm512_cvtepi32_ps(_mm512_load_si512(p))}; }
  static Vec16 LoadHalf(const uint16_t* p) {
    return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
  }
};

}  // namespace

const KernelTable& AmxKernels() {
  static const KernelTable table = [] {
    KernelTable result = Avx512Bf16Kernels();
    result.isa = Isa::kAmx;
    result.integer.rows = IntegerRows<Unit>::Run;
    result.integer.least_rows = MeasureLeastRows(result.integer);  // below, vpdpbusd need not rearrange the weights
    result.matmul[static_cast<int>(WeightType::kBFloat16)].rows = amx::Bf16Rows<amx::Tiles>::Run;
    return result;
  }();
  return table;
}

}  // namespace slmmesh::kernels
