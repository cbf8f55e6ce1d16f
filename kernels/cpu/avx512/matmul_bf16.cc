// AVX-512 with BF16: activations are rounded to bf16 and pairs of products are summed by vdpbf16ps.
#include <immintrin.h>

#include "kernels/cpu/avx512/attention_bf16.h"
#include "kernels/cpu/bfloat16.h"
#include "kernels/cpu/kernel_table.h"

namespace slmmesh::kernels {
namespace {

constexpr int kColumns = 4;  // vectors of a panel

// Rounded to nearest even.
void PackRow(const float* x, int64_t k, void* packed) {
  for (int64_t i = 0; i < k; i += 32) {
    const int64_t count = k - i < 32 ? k - i : 32;
    const auto mask = static_cast<__mmask32>((uint64_t{1} << count) - 1);
    const __m512 low = _mm512_maskz_loadu_ps(static_cast<__mmask16>(mask), x + i);
    const __m512 high = _mm512_maskz_loadu_ps(static_cast<__mmask16>(mask >> 16), x + i + 16);
    _mm512_mask_storeu_epi16(static_cast<BFloat16*>(packed) + i, mask, (__m512i)_mm512_cvtne2ps_pbh(high, low));
  }
}

// g++ spills the sums when it schedules the intrinsic itself.
inline __attribute__((always_inline)) void DotProduct(__m512& sum, __m512i weights, __m512i x) {
  asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(x), "v"(weights));
}

template <int kLines>
inline __attribute__((always_inline)) void Prefetch(const char* p) {
#pragma GCC unroll 4
  for (int line = 0; line < kLines; ++line) __builtin_prefetch(p + 64 * line, 0, 2);
}

template <int kRows, int kLines>
void RunTile(const TileArgs& args) {
  __m512 sums[kRows][kColumns];
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int c = 0; c < kColumns; ++c) {
      sums[r][c] = args.resume ? _mm512_load_ps(args.sums + r * kPanelColumns + 16 * c) : _mm512_setzero_ps();
    }
  }
  const BFloat16* x = static_cast<const BFloat16*>(args.x);
  const char* weights = static_cast<const char*>(args.weights);
  const char* prefetch = args.prefetch;
  for (int64_t k = 0; k < args.k; k += 2) {
    Prefetch<kLines>(prefetch);
    prefetch += 64 * kLines;
    __m512i w[kColumns];
#pragma GCC unroll 4
    for (int c = 0; c < kColumns; ++c) w[c] = _mm512_load_si512(weights + 64 * c);
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      const __m512i pair = _mm512_set1_epi32(*reinterpret_cast<const int32_t*>(x + r * args.x_stride));
#pragma GCC unroll 4
      for (int c = 0; c < kColumns; ++c) DotProduct(sums[r][c], w[c], pair);
    }
    x += 2;
    weights += 64 * kColumns;
  }
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int c = 0; c < kColumns; ++c) _mm512_store_ps(args.sums + r * kPanelColumns + 16 * c, sums[r][c]);
  }
}

template <int kRows>
void Tile(const TileArgs& args) {
  switch (args.prefetch_lines) {
    case 0:
      return RunTile<kRows, 0>(args);
    case 1:
      return RunTile<kRows, 1>(args);
    default:
      return RunTile<kRows, 2>(args);
  }
}

}  // namespace

const KernelTable& Avx512Bf16Kernels() {
  static const KernelTable table = [] {
    KernelTable result = Avx512VnniKernels();
    result.isa = Isa::kAvx512Bf16;
    result.matmul[static_cast<int>(WeightType::kBFloat16)] = {PackRow,
                                                              {Tile<1>, Tile<2>, Tile<3>, Tile<4>, Tile<5>, Tile<6>}};
    for (const KvType type : {KvType::kBFloat16, KvType::kInt8}) {
      result.attention[static_cast<int>(type)] = Avx512Bf16Attention(type);
    }
    return result;
  }();
  return table;
}

}  // namespace slmmesh::kernels
