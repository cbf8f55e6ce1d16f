// A Unit for IntegerRows over tile registers, the machine's or emulated ones. A block is half a tile (of 16 k a
// quarter): its products must become floats before the next block's are added, and that takes longer than the tile's
// dot product.
#pragma once

#include <cstdint>

#include "kernels/backend.h"
#include "kernels/cpu/amx/tile_config.h"

namespace slmmesh::kernels::amx {

template <typename Tiles>
class IntegerUnit {
 public:
  static constexpr int kRows = kRegisterRows;
  static constexpr int kStep = 4;

  IntegerUnit() = default;
  ~IntegerUnit() { Tiles::Release(); }
  IntegerUnit(const IntegerUnit&) = delete;
  IntegerUnit& operator=(const IntegerUnit&) = delete;

  void SetShape(int64_t rows, int64_t block) {
    if (rows == rows_ && block == block_) return;
    rows_ = rows;
    block_ = block;
    TileConfig config;
    for (int slot = 0; slot < 2; ++slot) {
      SetTile(config, kProducts + slot, rows, kRegisterRowBytes);
      SetTile(config, kX + slot, rows, block);
      SetTile(config, kWeights + slot, block / kStep, kRegisterRowBytes);
    }
    Tiles::Configure(config);
  }

  template <int kSlot>
  void Multiply(const int8_t* x, int64_t x_stride, const uint32_t* weights, int32_t (&products)[kRows][16]) const {
    Tiles::template Zero<kProducts + kSlot>();
    Tiles::template Load<kX + kSlot>(x, x_stride);
    Tiles::template Load<kWeights + kSlot>(weights, kPanelColumns * kStep);
    Tiles::template DotInt8<kProducts + kSlot, kX + kSlot, kWeights + kSlot>();
    Tiles::template Store<kProducts + kSlot>(products, sizeof products[0]);
  }

 private:
  static constexpr int kProducts = 0, kX = 2, kWeights = 4;  // tiles, two each

  int64_t rows_ = 0, block_ = 0;
};

}  // namespace slmmesh::kernels::amx
