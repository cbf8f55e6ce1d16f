// AVX2: sixteen registers hold 4 rows x 16 columns of sums.
#include "kernels/cpu/avx2/integer_unit.h"
#include "kernels/cpu/integer_tile.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/quantize_row.h"

namespace slmmesh::kernels {
namespace {

template <int kRows>
using Tile = IntegerTile<avx2::IntegerUnit, kRows, 2>;

}  // namespace

const IntegerKernels& Avx2IntegerKernels() {
  static const IntegerKernels kernels = {
      .quantize = QuantizeRow,
      .int8_per_row = {2, {Tile<1>::Int8PerRow, Tile<2>::Int8PerRow}},
      .int8_groups = {2, {Tile<1>::Int8Groups, Tile<2>::Int8Groups}},
      .int4_groups = {2, {Tile<1>::Int4Groups, Tile<2>::Int4Groups}},
  };
  return kernels;
}

}  // namespace slmmesh::kernels
