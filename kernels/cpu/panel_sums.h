// What the products of float and of integer weights share: rows in tiles, leaves joined by halving, results written.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/backend.h"
#include "kernels/cpu/kernel_table.h"

namespace slmmesh::kernels {

constexpr int kMaxLeaves = 8;
constexpr int64_t kGroupRows = 192;                // rows per task at most, and of the scratch memory
constexpr int64_t kSerialPackElements = 8 * 1024;  // of x: below, waking the pool costs more than packing

// Rows [Start(t), Start(t + 1)) form tile t: sizes differ by at most one.
struct RowTiles {
  RowTiles(int64_t m, int64_t tile_rows)
      : count((m + tile_rows - 1) / tile_rows), least_rows(m / count), larger(m % count) {}
  int64_t count;
  int64_t least_rows, larger;  // the first `larger` tiles have a row more
  int64_t Start(int64_t tile) const { return tile * least_rows + std::min(tile, larger); }
};

// With fewer rows than these, reading weights that another thread reads, too, costs more than what is gained by rows
// that are in a thread's own cache.
constexpr int64_t kLeastSharedRows = 15;

// Into how many groups to cut `m` rows: a group for each thread (where that leaves it few rows, for some threads
// together; the more threads, the more rows, as all read at the memory's speed), none of more than kGroupRows. Few
// rows: so many groups that the threads' shares of panels times groups differ by no more than a sixteenth (nine panels
// for two threads: two groups).
inline int64_t RowGroups(int64_t m, int64_t tile_rows, int64_t panels, int64_t threads) {
  const int64_t least = (m + kGroupRows - 1) / kGroupRows;
  const int64_t sharers = std::min(threads, m / std::max(kLeastSharedRows, threads));
  if (sharers > 1) return (least + sharers - 1) / sharers * sharers;
  for (int64_t groups = least; groups <= std::min((m + tile_rows - 1) / tile_rows, 4 * least); ++groups) {
    const int64_t tasks = panels * groups, largest_share = (tasks + threads - 1) / threads;
    if (16 * largest_share * threads <= 17 * tasks) return groups;
  }
  return least;
}

// The sums of some rows of one panel of columns, leaf by leaf: `scratch` is [kTreeLevels][max_rows][64].
class PanelSums {
 public:
  PanelSums(const MatMulArgs& args, const KernelTable& kernels, int64_t panel, int64_t first_row, int64_t max_rows,
            float* scratch)
      : args_(args),
        finish_rows_(kernels.finish_rows),
        column_(panel * kPanelColumns),
        first_row_(first_row),
        level_floats_(max_rows * kPanelColumns),
        scratch_(scratch) {
    Plan(0, args.num_leaves, 0);
  }

  // run_leaf(leaf) fills Leaf(leaf) tile by tile, each followed by its EndLeaf. Without any leaf (k = 0), `rows` zeros.
  template <typename RunLeaf>
  void Run(int64_t rows, const RunLeaf& run_leaf) {
    for (int leaf = 0; leaf < args_.num_leaves; ++leaf) {
      if (args_.leaf_start[leaf] < args_.leaf_start[leaf + 1]) run_leaf(leaf);
    }
    if (last_leaf_ >= 0) return;
    std::fill_n(scratch_, rows * kPanelColumns, 0.0f);
    last_leaf_ = 0;
    EndLeaf(0, 0, rows);
  }

  // Where the values of a leaf belong, [max_rows][64].
  float* Leaf(int leaf) const { return scratch_ + level_[leaf] * level_floats_; }

  // The leaf's values of these rows are there: joins them with the leaves before while they are in the cache, and
  // writes the result after the last leaf.
  void EndLeaf(int leaf, int64_t row, int64_t rows) const {
    const bool is_last = leaf == last_leaf_;
    if (!is_last && joins_[leaf] == 0) return;
    float* sums = Leaf(leaf) + row * kPanelColumns;
    FinishArgs finish = {.sums = sums, .rows = rows, .left = {}, .num_left = joins_[leaf]};
    for (int j = 0; j < finish.num_left; ++j) finish.left[j] = sums - (j + 1) * level_floats_;
    if (is_last) {
      finish.bias = args_.bias == nullptr ? nullptr : args_.bias + column_;
      finish.out = args_.y + (first_row_ + row) * args_.y_stride + column_;
      finish.out_stride = args_.y_stride;
      finish.columns = std::min(kPanelColumns, args_.n - column_);
    } else {
      finish.out = sums - finish.num_left * level_floats_;
      finish.out_stride = kPanelColumns;
      finish.columns = kPanelColumns;
    }
    finish_rows_(finish);
  }

  // Asks for the lines that the last leaf's EndLeaf will write, before the values are computed.
  void FetchOutput(int leaf, int64_t row, int64_t rows) const {
    if (leaf != last_leaf_) return;
    const float* out = args_.y + (first_row_ + row) * args_.y_stride + column_;
    for (int64_t r = 0; r < rows; ++r, out += args_.y_stride) {
      for (int64_t i = 0; i < kPanelColumns; i += kCacheLineFloats) FetchToWrite(out + i);
    }
  }

 private:
  static constexpr int64_t kCacheLineFloats = 16;
  static void FetchToWrite(const void* p) {
#ifdef MESH_KERNELS_X86
    asm volatile("prefetchw %0" : : "m"(*static_cast<const char*>(p)));  // without flags g++ fetches it to read
#else
    __builtin_prefetch(p, 1, 3);
#endif
  }

  // Leaves [low, high) are joined into `level`. False when all are empty.
  bool Plan(int low, int high, int level) {
    if (high - low == 1) {
      if (args_.leaf_start[low] == args_.leaf_start[high]) return false;
      level_[low] = level;
      last_leaf_ = low;
      return true;
    }
    const int middle = (low + high) / 2;
    const bool left = Plan(low, middle, level);
    const bool right = Plan(middle, high, left ? level + 1 : level);
    if (left && right) ++joins_[last_leaf_];
    return left || right;
  }

  const MatMulArgs& args_;
  void (*const finish_rows_)(const FinishArgs& args);
  const int64_t column_, first_row_, level_floats_;
  float* const scratch_;
  int level_[kMaxLeaves] = {};
  int joins_[kMaxLeaves] = {};  // with so many sums on its left, once a leaf is there
  int last_leaf_ = -1;          // that is not empty
};

// What one task computes: a group of rows, in tiles, times a panel.
struct PanelPart {
  int64_t panel;
  int worker;
  int64_t first_row;
  RowTiles tiles;  // of the group: their rows count from first_row
  const PanelSums& sums;
};

// Several tiles pass over one block of a panel's weights after the other, while the next block is being fetched into
// L2: how much of it pass `tile` asks for, from where. A single tile reads straight on: hardware sees that coming, and
// fetching by instruction was seen to cost up to a third of the speed (Zen 4).
struct BlockFetch {
  BlockFetch(int64_t tile, int64_t tiles, int64_t block_bytes) {
    if (tiles <= 2) {
      lines = 2;
      offset = tile * block_bytes / 2;
    } else if (tiles == 3) {
      lines = tile == 0 ? 2 : 1;
      offset = (tile == 0 ? 0 : tile + 1) * block_bytes / 4;
    } else {
      lines = tile < 4 ? 1 : 0;
      offset = std::min(tile, int64_t{4}) * block_bytes / 4;
    }
  }
  int lines;  // per 256 bytes of this block
  int64_t offset;
};

// Of weights, per block. What few tiles pass over comes from memory while they work: the fewer, the smaller, or they
// wait for it. What many do comes from L2; 1,024 k of int8 in groups of 32 with their scales fit.
constexpr int64_t kMaxBlockBytes = 68 * 1024;
inline int64_t BlockBytes(int64_t tiles) {
  if (tiles <= 3) return 20 * 1024;
  return tiles <= 6 ? kMaxBlockBytes / 2 : kMaxBlockBytes;
}

// Columns per block where `unit_bytes` of weights hold `unit` columns: whole units, and `k` cut evenly.
inline int64_t BlockColumns(int64_t k, int64_t unit, int64_t unit_bytes, int64_t block_bytes) {
  const int64_t units = k / unit, most = std::max(int64_t{1}, block_bytes / unit_bytes);
  const int64_t blocks = (units + most - 1) / most;
  return (units + blocks - 1) / blocks * unit;
}

}  // namespace slmmesh::kernels
