// Armv8.2's dot product: sdot multiplies and adds 16 pairs of bytes.
#include "kernels/cpu/integer_tile.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/neon/integer_unit.h"
#include "kernels/cpu/quantize_row.h"

namespace slmmesh::kernels {
namespace {

struct Unit : neon::IntegerUnit {
  template <bool kInt8>
  [[gnu::always_inline]] static void Dot(Int& sum, Weights w, Activations x) {
    sum = vdotq_s32(sum, w, x);
  }
};

template <int kRows>
using Tile = IntegerTile<Unit, kRows, 4>;

const IntegerKernels kInteger = {
    .quantize = QuantizeRow,
    .int8_per_row = {3, {Tile<1>::Int8PerRow, Tile<2>::Int8PerRow, Tile<3>::Int8PerRow}},
    .int8_groups = {3, {Tile<1>::Int8Groups, Tile<2>::Int8Groups, Tile<3>::Int8Groups}},
    .int4_groups = {3, {Tile<1>::Int4Groups, Tile<2>::Int4Groups, Tile<3>::Int4Groups}},
};

}  // namespace

const KernelTable& NeonDotprodKernels() {
  static const KernelTable table = [] {
    KernelTable result = NeonKernels();
    result.isa = Isa::kNeonDotprod;
    result.integer = kInteger;
    return result;
  }();
  return table;
}

}  // namespace slmmesh::kernels
