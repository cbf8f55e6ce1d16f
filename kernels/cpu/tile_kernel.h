// The tile kernel over an instruction set's Vec16: kColumns vectors of columns at a time stay in registers over all
// of k. Weights and x are fp32, or the weights bf16 and widened.
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/cpu/kernel_table.h"

namespace slmmesh::kernels {

template <typename Vec16, typename Weight, int kRows, int kColumns>
struct TileKernel {
  static void Run(const TileArgs& args) {
    switch (args.prefetch_lines) {
      case 0:
        RunColumns<0>(args, 0);
        break;
      case 1:
        RunColumns<1>(args, 0);
        break;
      default:
        RunColumns<2>(args, 0);
        break;
    }
    for (int column = 16 * kColumns; column < kPanelColumns; column += 16 * kColumns) RunColumns<0>(args, column);
  }

 private:
  template <int kPrefetchLines>
  static void RunColumns(const TileArgs& args, int column) {
    Vec16 sums[kRows][kColumns];
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int c = 0; c < kColumns; ++c) {
        sums[r][c] = args.resume ? Vec16::Load(args.sums + r * kPanelColumns + column + 16 * c) : Vec16::Splat(0.0f);
      }
    }
    const float* x = static_cast<const float*>(args.x);
    const Weight* weights = static_cast<const Weight*>(args.weights);
    const char* prefetch = args.prefetch;
    for (int64_t k = 0; k < args.k; k += 2) {
      constexpr int kLines = kPrefetchLines * static_cast<int>(sizeof(Weight)) / 2;  // a step is 256 or 512 bytes
#pragma GCC unroll 8
      for (int line = 0; line < kLines; ++line) __builtin_prefetch(prefetch + 64 * line, 0, 2);
      prefetch += 64 * kLines;
      if constexpr (std::is_same_v<Weight, float>) {
        Step(x, args.x_stride, sums, [&](int c) { return Vec16::Load(weights + column + 16 * c); });
        Step(x + 1, args.x_stride, sums, [&](int c) { return Vec16::Load(weights + kPanelColumns + column + 16 * c); });
      } else {
        Step(x, args.x_stride, sums, [&](int c) { return Vec16::LoadEven(weights + 2 * (column + 16 * c)); });
        Step(x + 1, args.x_stride, sums, [&](int c) { return Vec16::LoadOdd(weights + 2 * (column + 16 * c)); });
      }
      x += 2;
      weights += 2 * kPanelColumns;
    }
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int c = 0; c < kColumns; ++c) sums[r][c].Store(args.sums + r * kPanelColumns + column + 16 * c);
    }
  }

  template <typename LoadWeights>
  static void Step(const float* x, int64_t x_stride, Vec16 (&sums)[kRows][kColumns], LoadWeights load) {
    Vec16 w[kColumns];
#pragma GCC unroll 4
    for (int c = 0; c < kColumns; ++c) w[c] = load(c);
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      const Vec16 value = Vec16::Splat(x[r * x_stride]);
#pragma GCC unroll 4
      for (int c = 0; c < kColumns; ++c) sums[r][c] = Fma(value, w[c], sums[r][c]);
    }
  }
};

}  // namespace slmmesh::kernels
