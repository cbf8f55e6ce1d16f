// AVX2: sixteen registers hold the sums of 2 rows x 32 columns beside what they are made of.
#include "kernels/cpu/avx2/integer_unit.h"
#include "kernels/cpu/integer_tile.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/quantize_row.h"

namespace slmmesh::kernels {
namespace {

template <int kRows>
using Tile = IntegerTile<avx2::IntegerUnit, kRows, 4>;

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
