// Tile registers in plain C++, as Intel's manual (volume 2: LDTILECFG, TILELOADD, TDPBSSD, TDPBF16PS …) defines them:
// for tests of what is written over them, on any machine. What raises an exception there aborts here.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <initializer_list>

#include "kernels/cpu/amx/tile_config.h"

namespace slmmesh::kernels::amx {

class EmulatedTiles {
 public:
  static void Configure(const TileConfig& config) {
    Require(config.palette == 1 && config.start_row == 0);
    for (int t = 0; t < 16; ++t) {
      const bool used = config.rows[t] != 0;
      Require(used == (config.row_bytes[t] != 0) && (!used || t < kTiles));
      Require(config.rows[t] <= kRegisterRows && config.row_bytes[t] <= kRegisterRowBytes);
    }
    config_ = config;
    std::memset(tiles_, 0, sizeof tiles_);
  }
  static void Release() { config_ = {.palette = 0}; }
  static bool is_released() { return config_.palette == 0; }

  template <int kTile>
  static void Zero() {
    Shape(kTile);
    std::memset(tiles_[kTile], 0, sizeof tiles_[kTile]);
  }
  template <int kTile>
  static void Load(const void* from, int64_t stride_bytes) {
    Zero<kTile>();
    for (int r = 0; r < Rows(kTile); ++r) {
      std::memcpy(tiles_[kTile][r], static_cast<const char*>(from) + r * stride_bytes, RowBytes(kTile));
    }
  }
  template <int kTile>
  static void Store(void* to, int64_t stride_bytes) {
    Shape(kTile);
    for (int r = 0; r < Rows(kTile); ++r) {
      std::memcpy(static_cast<char*>(to) + r * stride_bytes, tiles_[kTile][r], RowBytes(kTile));
    }
  }

  template <int kSums, int kA, int kB>
  static void DotInt8() {
    RequireProduct(kSums, kA, kB);
    for (int m = 0; m < Rows(kSums); ++m) {
      for (int n = 0; n < RowBytes(kSums) / 4; ++n) {
        int32_t sum = Element<int32_t>(kSums, m, n);
        for (int k = 0; k < RowBytes(kA); ++k) {
          sum += Element<int8_t>(kA, m, k) * Element<int8_t>(kB, k / 4, 4 * n + k % 4);
        }
        SetElement(kSums, m, n, sum);
      }
    }
  }

  template <int kSums, int kA, int kB>
  static void DotBf16() {
    RequireProduct(kSums, kA, kB);
    for (int m = 0; m < Rows(kSums); ++m) {
      for (int n = 0; n < RowBytes(kSums) / 4; ++n) {
        float chains[2] = {};
        for (int k = 0; k < RowBytes(kA) / 2; ++k) {
          float& chain = chains[k % 2];
          chain = Flushed(std::fma(Bf16(kA, m, k), Bf16(kB, k / 2, 2 * n + k % 2), chain));
        }
        const float both = Flushed(chains[0] + chains[1]);
        SetElement(kSums, m, n, Flushed(Flushed(Element<float>(kSums, m, n)) + both));
      }
    }
  }

 private:
  static void Require(bool condition) {
    if (!condition) std::abort();
  }
  static void Shape(int tile) { Require(config_.palette == 1 && config_.rows[tile] != 0); }
  static int Rows(int tile) { return config_.rows[tile]; }
  static int RowBytes(int tile) { return config_.row_bytes[tile]; }
  static void RequireProduct(int sums, int a, int b) {
    for (const int tile : {sums, a, b}) Shape(tile);
    Require(sums != a && sums != b && a != b);
    Require(Rows(sums) == Rows(a) && RowBytes(sums) == RowBytes(b) && RowBytes(a) == 4 * Rows(b));
    Require(RowBytes(sums) % 4 == 0);
  }

  template <typename T>
  static T Element(int tile, int row, int index) {
    T value;
    std::memcpy(&value, tiles_[tile][row] + index * sizeof(T), sizeof value);
    return value;
  }
  template <typename T>
  static void SetElement(int tile, int row, int index, T value) {
    std::memcpy(tiles_[tile][row] + index * sizeof(T), &value, sizeof value);
  }
  static float Flushed(float value) {
    return std::fpclassify(value) == FP_SUBNORMAL ? std::copysign(0.0f, value) : value;
  }
  static float Bf16(int tile, int row, int index) {
    return Flushed(std::bit_cast<float>(uint32_t{Element<uint16_t>(tile, row, index)} << 16));
  }

  static inline thread_local TileConfig config_ = {.palette = 0};
  static inline thread_local char tiles_[kTiles][kRegisterRows][kRegisterRowBytes];
};

}  // namespace slmmesh::kernels::amx
