// NEON (every Armv8-A): 32 registers hold 6 rows x 16 columns of sums.
#include "kernels/cpu/attention_kernel.h"
#include "kernels/cpu/integer_tile.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/matmul.h"
#include "kernels/cpu/neon/integer_unit.h"
#include "kernels/cpu/neon/vec16.h"
#include "kernels/cpu/quantize_row.h"
#include "kernels/cpu/rope_kernel.h"
#include "kernels/cpu/row_kernels.h"
#include "kernels/cpu/tile_kernel.h"

namespace slmmesh::kernels {
namespace {

using neon::Vec16;

template <typename Weight>
constexpr MatMulKernels kMatMul = {
    nullptr,
    {TileKernel<Vec16, Weight, 1, 4>::Run, TileKernel<Vec16, Weight, 2, 2>::Run, TileKernel<Vec16, Weight, 3, 1>::Run,
     TileKernel<Vec16, Weight, 4, 1>::Run, TileKernel<Vec16, Weight, 5, 1>::Run, TileKernel<Vec16, Weight, 6, 1>::Run}};

template <int kRows>
using Tile = IntegerTile<neon::IntegerUnit, kRows, 4>;

const IntegerKernels kInteger = {
    .quantize = QuantizeRow,
    .int8_per_row = {2, {Tile<1>::Int8PerRow, Tile<2>::Int8PerRow}},
    .int8_groups = {2, {Tile<1>::Int8Groups, Tile<2>::Int8Groups}},
    .int4_groups = {2, {Tile<1>::Int4Groups, Tile<2>::Int4Groups}},
};

}  // namespace

const KernelTable& NeonKernels() {
  static const KernelTable table = {
      .isa = Isa::kNeon,
      .matmul = {kMatMul<float>, kMatMul<BFloat16>},
      .integer = kInteger,
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
