// The product of many rows of int8 activations with one leaf of a panel of integer weights, written once over a Unit
// that multiplies a tile of rows by 16 columns over one block of k (weight_format.h). Stretch by stretch of k, weights
// become signed bytes and their scales fp32 once for all rows; then each tile of rows passes over them, 16 columns of
// its sums in registers.
//
// A Unit is made for one call, and has
//   kRows                       rows of a tile, at most
//   kStep                       4 or 8: consecutive k of a column that lie together in the bytes that it is given
//   Vec16                       sixteen floats (reference/vec16.h)
//   Vec16 LoadInts(p), LoadHalf(p)
//   void SetShape(rows, block)  of the products that follow
//   void Multiply<kSlot>(x, x_stride, weights, products)
//     products [kRows][16] = x [rows][block] * weights [block / kStep][16 of 64 columns][kStep]; slots 0 and 1 take
//     turns, so that a product may begin while the one before it is added up
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/cpu/integer_layout.h"
#include "kernels/cpu/kernel_table.h"

namespace slmmesh::kernels {

template <typename Unit>
class IntegerRows {
 public:
  static void Run(const IntegerTileArgs& args, int64_t rows) {
    if (args.format->group == 0) {
      RunLeaf<Kind::kPerRow>(args, rows);
    } else if (args.format->has_minima) {
      RunLeaf<Kind::kMinima>(args, rows);
    } else {
      RunLeaf<Kind::kGroups>(args, rows);
    }
  }

 private:
  using Vec16 = typename Unit::Vec16;
  enum class Kind { kPerRow, kGroups, kMinima };
  static constexpr int kRows = Unit::kRows;
  static constexpr int64_t kStretch =
      384;  // of k: 24 KB of bytes; scales and a tile of x fit in the same 48 KB of cache
  static constexpr int64_t kMaxBlocks = kStretch / 16;

  // One stretch of the panel's weights.
  struct Weights {
    int64_t blocks;
    alignas(64) uint32_t quants[kStretch / 4 * kPanelColumns];
    alignas(64) float scales[kMaxBlocks][kPanelColumns];
    alignas(64) float minima[kMaxBlocks][kPanelColumns];
  };

  // What a tile of rows brings to a stretch, and its products. Rows that a smaller tile lacks are stale, not undefined.
  struct Tile {
    int64_t rows;
    const int8_t* x;
    int64_t x_stride;
    float powers[kRows][kMaxBlocks];  // 2^shift: products are below 2^24, so a float shifts as exactly as an integer
    float sums[kRows][kMaxBlocks];    // of x, shifted
    alignas(64) int32_t products[2][kRows][16];
  };

  template <Kind kKind>
  static void RunLeaf(const IntegerTileArgs& args, int64_t rows) {
    const int64_t block = IntegerLayout(*args.format, args.k).block();
    Unit unit;
    Weights weights;
    Tile tile = {};
    for (int64_t k = 0; k < args.k; k += kStretch) {
      weights.blocks = std::min(kStretch, args.k - k) / block;
      Unpack(args, k, weights);
      for (int64_t row = 0; row < rows; row += kRows) {
        tile.rows = std::min<int64_t>(kRows, rows - row);
        SetTile(args, row, k, weights.blocks, tile);
        unit.SetShape(tile.rows, block);
        for (int64_t column = 0; column < kPanelColumns; column += 16) {
          float* sums = args.sums + row * kPanelColumns + column;
          RunColumns<kKind>(unit, tile, weights, block, column, k > 0, sums);
        }
      }
    }
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t column = 0; column < kPanelColumns; column += 16) {
        float* sums = args.sums + row * kPanelColumns + column;
        Vec16 total = Vec16::Load(sums);
        if (kKind == Kind::kPerRow) total = total * LoadScale(args.scales, ScaleType::kFloat32, column);
        (total * Vec16::Splat(args.x_scales[row])).Store(sums);
      }
    }
  }

  static Vec16 LoadScale(const char* scales, ScaleType type, int64_t column) {
    return type == ScaleType::kFloat32 ? Vec16::Load(reinterpret_cast<const float*>(scales) + column)
                                       : Unit::LoadHalf(reinterpret_cast<const uint16_t*>(scales) + column);
  }

  static void Unpack(const IntegerTileArgs& args, int64_t first, Weights& to) {
    const WeightFormat& format = *args.format;
    const IntegerLayout layout(format, args.k);
    uint32_t* quants = to.quants;
    for (int64_t b = 0; b < to.blocks; ++b, quants += layout.block() / 4 * kPanelColumns) {
      const int64_t k = first + b * layout.block();
      const char* from = args.weights;
      if (format.group == 0) {
        from += layout.QuantBytes(k);
      } else {
        const char* header = from + k / format.group * layout.group_bytes();
        for (int64_t column = 0; column < kPanelColumns; column += 16) {
          LoadScale(header, format.scale_type, column).Store(to.scales[b] + column);
          if (!format.has_minima) continue;
          LoadScale(header + layout.scale_bytes(), format.scale_type, column).Store(to.minima[b] + column);
        }
        from = header + layout.header_bytes() + layout.QuantBytes(k % format.group);
      }
      const uint32_t* words = reinterpret_cast<const uint32_t*>(from);
      if (format.type == WeightType::kInt8) {
        UnpackInt8(words, layout.block(), quants);
      } else {
        UnpackInt4(words, layout.block(), static_cast<uint32_t>(Int4Offset(format)) * 0x01010101u, quants);
      }
    }
  }

  // Where the four k of a step and a column belong.
  static int64_t At(int64_t step, int64_t column) {
    return Unit::kStep == 4 ? step * kPanelColumns + column : (step / 2 * kPanelColumns + column) * 2 + step % 2;
  }

  // Plain loops over four bytes at a time, which the compiler vectorises.
  static void UnpackInt8(const uint32_t* from, int64_t block, uint32_t* to) {
    for (int64_t step = 0; step < block / 4; step += 2, from += 2 * kPanelColumns) {
      for (int64_t column = 0; column < kPanelColumns; ++column) {
        to[At(step, column)] = from[column] ^ 0x80808080u;
        to[At(step + 1, column)] = from[kPanelColumns + column] ^ 0x80808080u;
      }
    }
  }

  // The top bits keep a byte from borrowing of the next.
  static uint32_t Subtract(uint32_t nibbles, uint32_t offsets) {
    return ((nibbles | 0x80808080u) - offsets) ^ 0x80808080u;
  }
  static void UnpackInt4(const uint32_t* from, int64_t block, uint32_t offsets, uint32_t* to) {
    for (int64_t step = 0; step < block / 4; step += 2, from += kPanelColumns) {
      for (int64_t column = 0; column < kPanelColumns; ++column) {
        to[At(step, column)] = Subtract(from[column] & 0x0f0f0f0fu, offsets);
        to[At(step + 1, column)] = Subtract(from[column] >> 4 & 0x0f0f0f0fu, offsets);
      }
    }
  }

  static void SetTile(const IntegerTileArgs& args, int64_t row, int64_t k, int64_t blocks, Tile& tile) {
    const int64_t first_block = k / IntegerLayout(*args.format, args.k).block();
    tile.x = args.x + row * args.x_stride + k;
    tile.x_stride = args.x_stride;
    for (int64_t r = 0; r < tile.rows; ++r) {
      const int64_t from = (row + r) * args.x_block_stride + first_block;
      for (int64_t b = 0; b < blocks; ++b) {
        const int32_t power = 1 << args.x_shifts[from + b];
        tile.powers[r][b] = static_cast<float>(power);
        tile.sums[r][b] = static_cast<float>(args.x_sums[from + b] * power);
      }
    }
  }

  template <Kind kKind>
  static void RunColumns(Unit& unit, Tile& tile, const Weights& weights, int64_t block, int64_t column, bool resume,
                         float* sums) {
    Vec16 totals[kRows];
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      totals[r] = resume && r < tile.rows ? Vec16::Load(sums + r * kPanelColumns) : Vec16::Splat(0.0f);
    }
    const int64_t column_words = column * (Unit::kStep / 4), block_words = block / 4 * kPanelColumns;
    const auto multiply = [&]<int kSlot>(int64_t b) {
      unit.template Multiply<kSlot>(tile.x + b * block, tile.x_stride, weights.quants + b * block_words + column_words,
                                    tile.products[kSlot]);
    };
    multiply.template operator()<0>(0);
    for (int64_t b = 0; b < weights.blocks; b += 2) {
      if (b + 1 < weights.blocks) multiply.template operator()<1>(b + 1);
      AddBlock<kKind>(tile, weights, b, column, tile.products[0], totals);
      if (b + 1 == weights.blocks) break;
      if (b + 2 < weights.blocks) multiply.template operator()<0>(b + 2);
      AddBlock<kKind>(tile, weights, b + 1, column, tile.products[1], totals);
    }
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      if (r < tile.rows) totals[r].Store(sums + r * kPanelColumns);
    }
  }

  // The definition's steps: a product and its shift are exact in fp32, so each line rounds once, as it says.
  template <Kind kKind>
  [[gnu::always_inline]] static void AddBlock(const Tile& tile, const Weights& weights, int64_t b, int64_t column,
                                              const int32_t (&products)[kRows][16], Vec16 (&totals)[kRows]) {
    if constexpr (kKind == Kind::kPerRow) {
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) {
        totals[r] = Fma(Unit::LoadInts(products[r]), Vec16::Splat(tile.powers[r][b]), totals[r]);
      }
    } else {
      const Vec16 scale = Vec16::Load(weights.scales[b] + column);
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) {
        totals[r] = Fma(Unit::LoadInts(products[r]) * Vec16::Splat(tile.powers[r][b]), scale, totals[r]);
      }
    }
    if constexpr (kKind == Kind::kMinima) {
      const Vec16 minimum = Vec16::Load(weights.minima[b] + column);
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) totals[r] = Fma(Vec16::Splat(tile.sums[r][b]), minimum, totals[r]);
    }
  }
};

}  // namespace slmmesh::kernels
