#include "kernels/cpu/matmul.h"

#include <algorithm>
#include <cstdlib>

#include "kernels/cpu/memory.h"
#include "kernels/cpu/panel_sums.h"
#include "kernels/cpu/row_source.h"

namespace slmmesh::kernels {
namespace {

int64_t WeightBytes(WeightType type) { return type == WeightType::kFloat32 ? 4 : 2; }

// Elements from one row of packed x to the next. For a rows kernel, whose rows lie one after the other, not a power of
// two: they would share their cache lines' places.
int64_t PackedStride(const MatMulKernels& kernels, int64_t k) {
  return kernels.rows != nullptr ? (k + 31) / 32 * 32 + 32 : k;
}

// One panel of columns times a group of row tiles.
class PanelTask {
 public:
  PanelTask(const MatMulArgs& args, const MatMulKernels& kernels, const void* packed, const PanelPart& part)
      : args_(args),
        kernels_(kernels),
        packed_(static_cast<const char*>(packed)),
        tiles_(part.tiles),
        first_tile_(part.first_tile),
        end_tile_(part.end_tile),
        sums_(part.sums),
        first_row_(tiles_.Start(first_tile_)),
        weight_row_bytes_(kPanelColumns * WeightBytes(args.format.type)),
        weights_(static_cast<const char*>(args.weights) + part.panel * args.k * weight_row_bytes_) {}

  // One tile streams the weights once, and so does a rows kernel; several tiles share blocks of them.
  void RunLeaf(int leaf) const {
    const int64_t k_begin = args_.leaf_start[leaf], k_end = args_.leaf_start[leaf + 1];
    const int64_t tiles = end_tile_ - first_tile_;
    if (kernels_.rows != nullptr) return RunRows(leaf, k_begin, k_end);
    if (tiles == 1) return RunTile(first_tile_, leaf, k_begin, k_end, weights_, 0);
    const int64_t block_k = BlockColumns(k_end - k_begin, 2, 2 * weight_row_bytes_, BlockBytes(tiles));
    for (int64_t k = k_begin; k < k_end; k += block_k) {
      const int64_t block_end = std::min(k + block_k, k_end);
      const char* next = weights_ + block_end * weight_row_bytes_;
      for (int64_t t = 0; t < tiles; ++t) {
        const BlockFetch fetch(t, tiles, (block_end - k) * weight_row_bytes_);
        RunTile(first_tile_ + t, leaf, k, block_end, next + fetch.offset, fetch.lines);
      }
    }
  }

 private:
  void RunTile(int64_t tile, int leaf, int64_t k_begin, int64_t k_end, const char* prefetch, int prefetch_lines) const {
    const int64_t start = tiles_.Start(tile);
    const int64_t rows = tiles_.Start(tile + 1) - start;
    const TileArgs tile_args = {
        .x = packed_ + (start * args_.k + k_begin * rows) * kernels_.activation_bytes,
        .weights = weights_ + k_begin * weight_row_bytes_,
        .k = k_end - k_begin,
        .sums = sums_.Leaf(leaf) + (start - first_row_) * kPanelColumns,
        .resume = k_begin > args_.leaf_start[leaf],
        .prefetch = prefetch,
        .prefetch_lines = prefetch_lines,
    };
    kernels_.tile[rows - 1](tile_args);
    if (k_end == args_.leaf_start[leaf + 1]) sums_.EndLeaf(leaf, start - first_row_, rows);
  }

  void RunRows(int leaf, int64_t k_begin, int64_t k_end) const {
    const int64_t rows = tiles_.Start(end_tile_) - first_row_, x_stride = PackedStride(kernels_, args_.k);
    const TileArgs tile_args = {
        .x = packed_ + (first_row_ * x_stride + k_begin) * kernels_.activation_bytes,
        .weights = weights_ + k_begin * weight_row_bytes_,
        .k = k_end - k_begin,
        .sums = sums_.Leaf(leaf),
    };
    kernels_.rows(tile_args, rows, x_stride);
    sums_.EndLeaf(leaf, 0, rows);
  }

  const MatMulArgs& args_;
  const MatMulKernels& kernels_;
  const char* packed_;
  const RowTiles tiles_;
  const int64_t first_tile_, end_tile_;
  const PanelSums& sums_;
  const int64_t first_row_;
  const int64_t weight_row_bytes_;
  const char* weights_;  // of the panel
};

void CheckArgs(const MatMulArgs& args) {
  if (args.num_leaves < 1 || args.num_leaves > kMaxLeaves || (args.num_leaves & (args.num_leaves - 1)) != 0) abort();
  const bool is_made = args.source.kind != RowSource::Kind::kThere;
  if (is_made && (args.source.rows != args.x || args.x_stride != args.k)) abort();
  if (args.leaf_start[0] != 0 || args.leaf_start[args.num_leaves] != args.k || args.k % 2 != 0) abort();
  for (int l = 0; l < args.num_leaves; ++l) {
    if (args.leaf_start[l] % 2 != 0 || args.leaf_start[l] > args.leaf_start[l + 1]) abort();
  }
}

}  // namespace

void PackRowsFloat32(const float* x, int64_t x_stride, int64_t rows, int64_t k, void* packed) {
  float* out = static_cast<float*>(packed);
  for (int64_t i = 0; i < k; ++i) {
    for (int64_t r = 0; r < rows; ++r) *out++ = x[r * x_stride + i];
  }
}

void MatMulRunner::Free::operator()(void* pointer) const { FreePages(pointer); }

MatMulRunner::Buffer MatMulRunner::MakeBuffer(size_t bytes) {
  Buffer buffer(AllocatePages(bytes));
  if (buffer == nullptr) std::abort();  // scratch of a few MB: there is no way on without it
  return buffer;
}

MatMulRunner::MatMulRunner(const KernelTable& kernels, ThreadPool& pool)
    : kernels_(kernels), pool_(pool), sums_(new Buffer[pool.threads()]), widened_(new Buffer[pool.threads()]) {
  for (int worker = 0; worker < pool.threads(); ++worker) {
    sums_[worker] = MakeBuffer(kTreeLevels * kGroupRows * kPanelColumns * sizeof(float));
    widened_[worker] = MakeBuffer(kMaxBlockBytes);
  }
}

void MatMulRunner::ReservePacked(size_t bytes) {
  if (bytes <= packed_bytes_) return;
  packed_.reset();
  packed_ = MakeBuffer(bytes);
  packed_bytes_ = bytes;
}

const void* MatMulRunner::PackActivations(const MatMulArgs& args, const MatMulKernels& kernels) {
  if (args.m == 1 && kernels.pack_rows == PackRowsFloat32) {  // is packed as it stands
    MakeRow(kernels_, args.source, args.k, 0);
    return args.x;
  }
  const int64_t stride = PackedStride(kernels, args.k);
  ReservePacked(static_cast<size_t>(args.m * stride * kernels.activation_bytes));
  const RowTiles tiles(args.m, kernels.rows != nullptr ? 1 : kTileRows);
  const auto pack = [&](int64_t tile) {
    const int64_t start = tiles.Start(tile), end = tiles.Start(tile + 1);
    for (int64_t row = start; row < end; ++row) MakeRow(kernels_, args.source, args.k, row);
    kernels.pack_rows(args.x + start * args.x_stride, args.x_stride, end - start, args.k,
                      static_cast<char*>(packed_.get()) + start * stride * kernels.activation_bytes);
  };
  ForPartsOfX(args, tiles.count, pack);
  return packed_.get();
}

void MatMulRunner::Run(const MatMulArgs& args) {
  CheckArgs(args);
  if (args.m == 0 || args.n == 0) return;
  if (args.format.is_integer()) return RunInteger(args);
  const MatMulKernels& kernels = kernels_.matmul[static_cast<int>(args.format.type)];
  const void* packed = PackActivations(args, kernels);
  RunPanels(args, kernels.rows != nullptr ? kRowsTile : kTileRows,
            [&](const PanelPart& part, int leaf) { PanelTask(args, kernels, packed, part).RunLeaf(leaf); });
}

}  // namespace slmmesh::kernels
