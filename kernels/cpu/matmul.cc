#include "kernels/cpu/matmul.h"

#include <algorithm>
#include <cstdlib>

#include "kernels/cpu/memory.h"
#include "kernels/cpu/panel_sums.h"

namespace slmmesh::kernels {
namespace {

int64_t WeightBytes(WeightType type) { return type == WeightType::kFloat32 ? 4 : 2; }

// One panel of columns times a group of row tiles.
class PanelTask {
 public:
  PanelTask(const MatMulArgs& args, const MatMulKernels& kernels, const void* packed, RowTiles tiles,
            int64_t first_tile, int64_t end_tile, int64_t panel)
      : args_(args),
        kernels_(kernels),
        packed_(static_cast<const char*>(packed)),
        tiles_(tiles),
        first_tile_(first_tile),
        end_tile_(end_tile),
        first_row_(tiles.Start(first_tile)),
        weight_row_bytes_(kPanelColumns * WeightBytes(args.format.type)),
        weights_(static_cast<const char*>(args.weights) + panel * args.k * weight_row_bytes_) {}

  // One tile streams the weights once; several share blocks of them.
  void RunLeaf(int leaf, float* sums) const {
    const int64_t k_begin = args_.leaf_start[leaf], k_end = args_.leaf_start[leaf + 1];
    const int64_t tiles = end_tile_ - first_tile_;
    if (tiles == 1) {
      RunTile(first_tile_, k_begin, k_end, false, weights_, 0, sums);
      return;
    }
    const int64_t block_k = BlockBytes(tiles) / weight_row_bytes_;
    for (int64_t k = k_begin; k < k_end; k += block_k) {
      const int64_t block_end = std::min(k + block_k, k_end);
      const char* next = weights_ + block_end * weight_row_bytes_;
      for (int64_t t = 0; t < tiles; ++t) {
        const BlockFetch fetch(t, tiles, (block_end - k) * weight_row_bytes_);
        RunTile(first_tile_ + t, k, block_end, k > k_begin, next + fetch.offset, fetch.lines, sums);
      }
    }
  }

 private:
  void RunTile(int64_t tile, int64_t k_begin, int64_t k_end, bool resume, const char* prefetch, int prefetch_lines,
               float* sums) const {
    const int64_t start = tiles_.Start(tile);
    const int64_t rows = tiles_.Start(tile + 1) - start;
    const TileArgs tile_args = {
        .x = packed_ + (start * args_.k + k_begin * rows) * kernels_.activation_bytes,
        .weights = weights_ + k_begin * weight_row_bytes_,
        .k = k_end - k_begin,
        .sums = sums + (start - first_row_) * kPanelColumns,
        .resume = resume,
        .prefetch = prefetch,
        .prefetch_lines = prefetch_lines,
    };
    kernels_.tile[rows - 1](tile_args);
  }

  const MatMulArgs& args_;
  const MatMulKernels& kernels_;
  const char* packed_;
  const RowTiles tiles_;
  const int64_t first_tile_, end_tile_;
  const int64_t first_row_;
  const int64_t weight_row_bytes_;
  const char* weights_;  // of the panel
};

void CheckArgs(const MatMulArgs& args) {
  if (args.num_leaves < 1 || args.num_leaves > kMaxLeaves || (args.num_leaves & (args.num_leaves - 1)) != 0) abort();
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
    : kernels_(kernels), pool_(pool), sums_(new Buffer[pool.threads()]) {
  for (int worker = 0; worker < pool.threads(); ++worker) {
    sums_[worker] = MakeBuffer(kTreeLevels * kGroupRows * kPanelColumns * sizeof(float));
  }
}

void MatMulRunner::ReservePacked(size_t bytes) {
  if (bytes <= packed_bytes_) return;
  packed_.reset();
  packed_ = MakeBuffer(bytes);
  packed_bytes_ = bytes;
}

const void* MatMulRunner::PackActivations(const MatMulArgs& args, const MatMulKernels& kernels, int64_t num_tiles) {
  if (args.m == 1 && kernels.pack_rows == PackRowsFloat32) return args.x;  // is packed as it stands
  ReservePacked(static_cast<size_t>(args.m * args.k * kernels.activation_bytes));
  const RowTiles tiles(args.m, kTileRows);
  const auto pack = [&](int64_t tile, int /*worker*/) {
    const int64_t start = tiles.Start(tile);
    kernels.pack_rows(args.x + start * args.x_stride, args.x_stride, tiles.Start(tile + 1) - start, args.k,
                      static_cast<char*>(packed_.get()) + start * args.k * kernels.activation_bytes);
  };
  if (args.m * args.k <= kSerialPackElements) {
    for (int64_t tile = 0; tile < num_tiles; ++tile) pack(tile, 0);
  } else {
    pool_.For(num_tiles, pack);
  }
  return packed_.get();
}

void MatMulRunner::Run(const MatMulArgs& args) {
  CheckArgs(args);
  if (args.m == 0 || args.n == 0) return;
  if (args.format.is_integer()) return RunInteger(args);
  const MatMulKernels& kernels = kernels_.matmul[static_cast<int>(args.format.type)];
  const RowTiles tiles(args.m, kTileRows);
  const void* packed = PackActivations(args, kernels, tiles.count);
  const int64_t panels = (args.n + kPanelColumns - 1) / kPanelColumns;
  const int64_t groups = RowGroups(tiles, kTileRows, kGroupRows, panels, pool_.threads());
  // Groups of one panel follow each other: its weights are read from memory once.
  pool_.For(panels * groups, [&](int64_t index, int worker) {
    const int64_t group = index % groups, panel = index / groups;
    const int64_t first = group * tiles.count / groups, end = (group + 1) * tiles.count / groups;
    const PanelTask task(args, kernels, packed, tiles, first, end, panel);
    PanelSums(args, panel, tiles.Start(first), tiles.Start(end) - tiles.Start(first), kGroupRows,
              static_cast<float*>(sums_[worker].get()))
        .Run([&](int leaf, float* sums) { task.RunLeaf(leaf, sums); });
  });
}

}  // namespace slmmesh::kernels
