// What the products of float and of integer weights share: rows in tiles, leaves joined by halving, results written.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/backend.h"

namespace slmmesh::kernels {

constexpr int kMaxLeaves = 8;
constexpr int kTreeLevels = 4;      // sums alive at once while 8 leaves are joined
constexpr int64_t kGroupRows = 96;  // rows per task at most: a multiple of every tile's; the scratch memory has as many
constexpr int64_t kSerialPackElements = 8 * 1024;  // of x: below, waking the pool costs more than packing

// Rows [Start(t), Start(t + 1)) form tile t: sizes differ by at most one.
struct RowTiles {
  RowTiles(int64_t m, int64_t tile_rows) : m(m), count((m + tile_rows - 1) / tile_rows) {}
  int64_t m, count;
  int64_t Start(int64_t tile) const { return tile * m / count; }
};

// Into how many groups of tiles to cut the rows of every panel: as few as hold `max_rows` each, but so many that the
// threads' shares of panels times groups differ by no more than a sixteenth (nine panels for two threads: two groups).
inline int64_t RowGroups(const RowTiles& tiles, int64_t tile_rows, int64_t max_rows, int64_t panels, int64_t threads) {
  const int64_t least = (tiles.count * tile_rows + max_rows - 1) / max_rows;
  for (int64_t groups = least; groups <= std::min(tiles.count, 4 * least); ++groups) {
    const int64_t tasks = panels * groups, largest_share = (tasks + threads - 1) / threads;
    if (16 * largest_share * threads <= 17 * tasks) return groups;
  }
  return least;
}

// Some tiles of rows of one panel of columns. `sums` is scratch memory, [kTreeLevels][max_rows][64].
class PanelSums {
 public:
  PanelSums(const MatMulArgs& args, int64_t panel, int64_t first_row, int64_t rows, int64_t max_rows, float* sums)
      : args_(args), panel_(panel), first_row_(first_row), rows_(rows), max_rows_(max_rows), sums_(sums) {}

  // run_leaf(leaf, sums): one leaf's value into sums [rows][64].
  template <typename RunLeaf>
  void Run(const RunLeaf& run_leaf) {
    if (!Join(0, args_.num_leaves, 0, run_leaf)) std::fill_n(sums_, rows_ * kPanelColumns, 0.0f);
    WriteOutput();
  }

 private:
  float* Sums(int level) const { return sums_ + level * max_rows_ * kPanelColumns; }

  // Leaves [low, high) joined by halving, into Sums(level). False when all are empty.
  template <typename RunLeaf>
  bool Join(int low, int high, int level, const RunLeaf& run_leaf) {
    if (high - low == 1) {
      if (args_.leaf_start[low] == args_.leaf_start[high]) return false;
      run_leaf(low, Sums(level));
      return true;
    }
    const int middle = (low + high) / 2;
    if (!Join(low, middle, level, run_leaf)) return Join(middle, high, level, run_leaf);
    if (!Join(middle, high, level + 1, run_leaf)) return true;
    float* left = Sums(level);
    const float* right = Sums(level + 1);
    for (int64_t i = 0; i < rows_ * kPanelColumns; ++i) left[i] += right[i];
    return true;
  }

  void WriteOutput() const {
    const int64_t column = panel_ * kPanelColumns;
    const int64_t columns = std::min(kPanelColumns, args_.n - column);
    for (int64_t row = 0; row < rows_; ++row) {
      const float* sums = sums_ + row * kPanelColumns;
      float* y = args_.y + (first_row_ + row) * args_.y_stride + column;
      if (args_.bias == nullptr) {
        std::copy_n(sums, columns, y);
      } else {
        for (int64_t i = 0; i < columns; ++i) y[i] = sums[i] + args_.bias[column + i];
      }
    }
  }

  const MatMulArgs& args_;
  const int64_t panel_;
  const int64_t first_row_, rows_, max_rows_;
  float* const sums_;
};

// Several tiles pass over one block of a panel's weights after the other, while the next block is being fetched into
// L2: how much of it pass `tile` asks for, from where. A single tile reads straight on: hardware sees that coming, and
// fetching by instruction was seen to cost up to a third of the speed (Zen 4).
struct BlockFetch {
  BlockFetch(int64_t tile, int64_t tiles, int64_t block_bytes) {
    int64_t before = 0;  // quarters of the block that earlier passes fetch
    for (int64_t t = 0; t <= tile; ++t) {
      lines = tiles <= 2 || (tiles == 3 && t == 0) ? 2 : t < 4 ? 1 : 0;
      if (t < tile) before += lines;
    }
    offset = before * block_bytes / 4;
  }
  int lines = 0;  // per 256 bytes of this block
  int64_t offset;
};

// Of weights, per block: what few tiles pass over comes from memory, what many do from L2.
inline int64_t BlockBytes(int64_t tiles) { return tiles <= 6 ? 32 * 1024 : 64 * 1024; }

}  // namespace slmmesh::kernels
