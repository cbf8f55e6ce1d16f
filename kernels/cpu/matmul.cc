#include "kernels/cpu/matmul.h"

#include <algorithm>
#include <cstdlib>

#include "kernels/cpu/bfloat16.h"
#include "kernels/cpu/memory.h"
#include "kernels/cpu/panel_sums.h"
#include "kernels/cpu/row_source.h"

namespace slmmesh::kernels {
namespace {

int64_t WeightBytes(WeightType type) { return type == WeightType::kFloat32 ? 4 : 2; }

// Of packed x, elements from one row to the next: not a power of two, or rows would share their cache lines' places.
int64_t PackedStride(int64_t k) { return (k + 31) / 32 * 32 + 32; }

// One panel of columns times a group of row tiles.
class PanelTask {
 public:
  PanelTask(const MatMulArgs& args, const MatMulKernels& kernels, const Activations& x, const PanelPart& part)
      : args_(args),
        kernels_(kernels),
        x_(x),
        part_(part),
        weight_row_bytes_(kPanelColumns * WeightBytes(args.format.type)),
        weights_(static_cast<const char*>(args.weights) + part.panel * args.k * weight_row_bytes_) {}

  // One tile streams the weights once, and so does a rows kernel; several tiles share blocks of them.
  void RunLeaf(int leaf) const {
    const int64_t k_begin = args_.leaf_start[leaf], k_end = args_.leaf_start[leaf + 1];
    const int64_t tiles = part_.tiles.count;
    if (kernels_.rows != nullptr) return RunRows(leaf, k_begin, k_end);
    if (tiles == 1) return RunTile(0, leaf, k_begin, k_end, weights_, 0);
    const int64_t block_k = BlockColumns(k_end - k_begin, 2, 2 * weight_row_bytes_, BlockBytes(tiles));
    for (int64_t k = k_begin; k < k_end; k += block_k) {
      const int64_t block_end = std::min(k + block_k, k_end);
      const char* next = weights_ + block_end * weight_row_bytes_;
      for (int64_t t = 0; t < tiles; ++t) {
        const BlockFetch fetch(t, tiles, (block_end - k) * weight_row_bytes_);
        RunTile(t, leaf, k, block_end, next + fetch.offset, fetch.lines);
      }
    }
  }

 private:
  void RunTile(int64_t tile, int leaf, int64_t k_begin, int64_t k_end, const char* prefetch, int prefetch_lines) const {
    const int64_t start = part_.tiles.Start(tile), rows = part_.tiles.Start(tile + 1) - start;
    TileArgs tile_args = Stretch(leaf, start, k_begin, k_end);
    tile_args.resume = k_begin > args_.leaf_start[leaf];
    tile_args.prefetch = prefetch;
    tile_args.prefetch_lines = prefetch_lines;
    kernels_.tile[rows - 1](tile_args);
    if (k_end == args_.leaf_start[leaf + 1]) part_.sums.EndLeaf(leaf, start, rows);
  }

  void RunRows(int leaf, int64_t k_begin, int64_t k_end) const {
    const int64_t rows = part_.tiles.Start(part_.tiles.count);
    kernels_.rows(Stretch(leaf, 0, k_begin, k_end), rows);
    part_.sums.EndLeaf(leaf, 0, rows);
  }

  // From `row` of the group on.
  TileArgs Stretch(int leaf, int64_t row, int64_t k_begin, int64_t k_end) const {
    return {.x = x_.rows + ((part_.first_row + row) * x_.stride + k_begin) * x_.element_bytes,
            .x_stride = x_.stride,
            .weights = weights_ + k_begin * weight_row_bytes_,
            .k = k_end - k_begin,
            .sums = part_.sums.Leaf(leaf) + row * kPanelColumns};
  }

  const MatMulArgs& args_;
  const MatMulKernels& kernels_;
  const Activations& x_;
  const PanelPart& part_;
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

Activations MatMulRunner::PackActivations(const MatMulArgs& args, const MatMulKernels& kernels) {
  if (kernels.pack_row == nullptr) {
    if (args.source.kind != RowSource::Kind::kThere) {
      ForRowsOfX(args, [&](int64_t row) { MakeRow(kernels_, args.source, args.k, row); });
    }
    return {reinterpret_cast<const char*>(args.x), args.x_stride, sizeof(float)};
  }
  const int64_t stride = PackedStride(args.k), row_bytes = stride * static_cast<int64_t>(sizeof(BFloat16));
  ReservePacked(static_cast<size_t>(args.m * row_bytes));
  char* const packed = static_cast<char*>(packed_.get());
  ForRowsOfX(args, [&](int64_t row) {
    MakeRow(kernels_, args.source, args.k, row);
    kernels.pack_row(args.x + row * args.x_stride, args.k, packed + row * row_bytes);
  });
  return {packed, stride, sizeof(BFloat16)};
}

void MatMulRunner::Run(const MatMulArgs& args) {
  CheckArgs(args);
  if (args.m == 0 || args.n == 0) return;
  if (args.format.is_integer()) return RunInteger(args);
  const MatMulKernels& kernels = kernels_.matmul[static_cast<int>(args.format.type)];
  const Activations x = PackActivations(args, kernels);
  RunPanels(args, kernels.rows != nullptr ? kRowsTile : kTileRows,
            [&](const PanelPart& part, int leaf) { PanelTask(args, kernels, x, part).RunLeaf(leaf); });
}

}  // namespace slmmesh::kernels
