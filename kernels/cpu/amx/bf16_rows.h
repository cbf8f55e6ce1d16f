// The product with bf16 weights over tile registers, the machine's or emulated ones: 16 rows by 64 columns.
//
// TDPBF16PS adds up 32 k in an order of its own before it adds them to the sum, so its bits are not vdpbf16ps's. A leaf
// is cut into steps of 32 k from its start, the last one shorter, whatever the number of rows, and this kernel is the
// only one of its instruction set, for one row as for many: a result depends on the shape of the weights alone.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/cpu/amx/tile_config.h"
#include "kernels/cpu/bfloat16.h"
#include "kernels/cpu/kernel_table.h"

namespace slmmesh::kernels::amx {

constexpr int64_t kBf16Step = 32;  // k of a tile

template <typename Tiles>
class Bf16Rows {
 public:
  static void Run(const TileArgs& args, int64_t rows) {
    for (int64_t k = 0; k < args.k; k += kStretch) {
      const int64_t count = std::min(kStretch, args.k - k), whole = count / kBf16Step * kBf16Step;
      if (whole > 0) RunSteps(args, rows, k, whole, kBf16Step);
      if (whole < count) RunSteps(args, rows, k + whole, count - whole, count - whole);
    }
    Tiles::Release();
  }

 private:
  static constexpr int64_t kStretch = 128;  // of k: 16 KB of weights, which every tile of rows passes over
  static constexpr int64_t kStrideBytes = kPanelColumns * 2 * sizeof(BFloat16);
  static constexpr int kColumns = 4;                     // tiles of a panel
  static constexpr int kSums = 0, kX = 4, kWeights = 5;  // tiles: four, one, three

  // sums (+)= the products of `count` k from `first` on, in steps of `step`.
  static void RunSteps(const TileArgs& args, int64_t rows, int64_t first, int64_t count, int64_t step) {
    const BFloat16* x = static_cast<const BFloat16*>(args.x) + first;
    const char* weights = static_cast<const char*>(args.weights) + first / 2 * kStrideBytes;
    int64_t shape = 0;
    for (int64_t row = 0; row < rows; row += kRegisterRows) {
      const int64_t tile_rows = std::min(kRegisterRows, rows - row);
      if (tile_rows != shape) SetShape(tile_rows, step);
      shape = tile_rows;
      float* sums = args.sums + row * kPanelColumns;
      first == 0 ? EachColumn([]<int c>() { Tiles::template Zero<kSums + c>(); })
                 : EachColumn([&]<int c>() { Tiles::template Load<kSums + c>(sums + 16 * c, kRowBytes); });
      for (int64_t k = 0; k < count; k += step) {
        Tiles::template Load<kX>(x + row * args.x_stride + k, args.x_stride * static_cast<int64_t>(sizeof(BFloat16)));
        EachColumn([&]<int c>() {
          constexpr int kTile = kWeights + c % 3;
          Tiles::template Load<kTile>(weights + k / 2 * kStrideBytes + kRegisterRowBytes * c, kStrideBytes);
          Tiles::template DotBf16<kSums + c, kX, kTile>();
        });
      }
      EachColumn([&]<int c>() { Tiles::template Store<kSums + c>(sums + 16 * c, kRowBytes); });
    }
  }

  static constexpr int64_t kRowBytes = kPanelColumns * sizeof(float);

  template <typename F>
  [[gnu::always_inline]] static void EachColumn(F f) {
    f.template operator()<0>();
    f.template operator()<1>();
    f.template operator()<2>();
    f.template operator()<3>();
  }

  static void SetShape(int64_t rows, int64_t step) {
    TileConfig config;
    for (int c = 0; c < kColumns; ++c) SetTile(config, kSums + c, rows, kRegisterRowBytes);
    SetTile(config, kX, rows, step * static_cast<int64_t>(sizeof(BFloat16)));
    for (int tile = kWeights; tile < kTiles; ++tile) SetTile(config, tile, step / 2, kRegisterRowBytes);
    Tiles::Configure(config);
  }
};

}  // namespace slmmesh::kernels::amx
