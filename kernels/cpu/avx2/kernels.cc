// AVX2 and FMA: 16 registers hold 6 rows x 16 columns of sums.
#include "kernels/cpu/attention_kernel.h"
#include "kernels/cpu/avx2/vec16.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/matmul.h"
#include "kernels/cpu/rope_kernel.h"
#include "kernels/cpu/row_kernels.h"
#include "kernels/cpu/tile_kernel.h"

namespace slmmesh::kernels {
namespace {

using avx2::Vec16;

template <typename Weight>
constexpr MatMulKernels kMatMul = {
    nullptr,
    {TileKernel<Vec16, Weight, 1, 4>::Run, TileKernel<Vec16, Weight, 2, 2>::Run, TileKernel<Vec16, Weight, 3, 2>::Run,
     TileKernel<Vec16, Weight, 4, 1>::Run, TileKernel<Vec16, Weight, 5, 1>::Run, TileKernel<Vec16, Weight, 6, 1>::Run}};

}  // namespace

const KernelTable& Avx2Kernels() {
  static const KernelTable table = {
      .isa = Isa::kAvx2,
      .matmul = {kMatMul<float>, kMatMul<BFloat16>},
      .integer = Avx2IntegerKernels(),
      .finish_rows = RowKernels<Vec16>::FinishRows,
      .rms_norm = RowKernels<Vec16>::RmsNorm,
      .add_rms_norm = RowKernels<Vec16>::AddRmsNorm,
      .silu_mul = RowKernels<Vec16>::SiluMul,
      .rope_store = RopeKernel<Vec16>::RopeStore,
      .attention = {AttentionKernel<Vec16, float>::Kernels(), AttentionKernel<Vec16, BFloat16>::Kernels(),
                    AttentionKernel<Vec16, int8_t>::Kernels()},
  };
  return table;
}

}  // namespace slmmesh::kernels
