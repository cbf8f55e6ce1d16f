// The reference: what every instruction set computes, in plain C++.
#include "kernels/cpu/attention_kernel.h"
#include "kernels/cpu/bfloat16.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/matmul.h"
#include "kernels/cpu/reference/vec16.h"
#include "kernels/cpu/rope_kernel.h"
#include "kernels/cpu/row_kernels.h"

namespace slmmesh::kernels {
namespace {

using reference::Vec16;

float Weight(const float* weights, int64_t k, int64_t column) { return weights[k * kPanelColumns + column]; }
float Weight(const BFloat16* weights, int64_t k, int64_t column) {
  return Bf16ToFloat(weights[(k / 2 * kPanelColumns + column) * 2 + k % 2]);
}

template <typename Element, int kRows>
void Tile(const TileArgs& args) {
  const float* x = static_cast<const float*>(args.x);
  const Element* weights = static_cast<const Element*>(args.weights);
  for (int r = 0; r < kRows; ++r) {
    for (int64_t column = 0; column < kPanelColumns; ++column) {
      float* sum = args.sums + r * kPanelColumns + column;
      if (!args.resume) *sum = 0.0f;
      for (int64_t k = 0; k < args.k; ++k) *sum = std::fma(x[r * args.x_stride + k], Weight(weights, k, column), *sum);
    }
  }
}

template <typename Element>
constexpr MatMulKernels kMatMul = {
    nullptr,
    {Tile<Element, 1>, Tile<Element, 2>, Tile<Element, 3>, Tile<Element, 4>, Tile<Element, 5>, Tile<Element, 6>}};

}  // namespace

const KernelTable& ReferenceKernels() {
  static const KernelTable table = {
      .isa = Isa::kReference,
      .matmul = {kMatMul<float>, kMatMul<BFloat16>},
      .integer = ReferenceIntegerKernels(),
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
