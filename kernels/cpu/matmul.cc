#include "kernels/cpu/matmul.h"

#include <algorithm>
#include <cstdlib>

#include "kernels/cpu/memory.h"

namespace slmmesh::kernels {
namespace {

constexpr int64_t kGroupTiles = 16;  // tiles of rows per task
constexpr int64_t kGroupRows = kGroupTiles * kTileRows;
constexpr int kMaxLeaves = 8;
constexpr int kTreeLevels = 4;                     // sums alive at once while 8 leaves are joined
constexpr int64_t kSerialPackElements = 8 * 1024;  // below, waking the pool costs more than packing
constexpr int64_t kStreamAheadBytes = 4096;
constexpr int64_t kSmallBlockBytes = 8 * 1024;   // of weights: stays in L1 while up to 6 tiles pass over it
constexpr int64_t kLargeBlockBytes = 64 * 1024;  // stays in L2
constexpr int64_t kSmallBlockTiles = 6;

int64_t WeightBytes(WeightType type) { return type == WeightType::kFloat32 ? 4 : 2; }

// Rows [TileStart(t), TileStart(t + 1)) form tile t: sizes differ by at most one.
struct Tiles {
  int64_t m, count;
  int64_t Start(int64_t tile) const { return tile * m / count; }
};

// One panel of columns times a group of row tiles.
class PanelTask {
 public:
  PanelTask(const MatMulArgs& args, const MatMulKernels& kernels, const void* packed, Tiles tiles, int64_t first_tile,
            int64_t end_tile, int64_t panel, float* sums)
      : args_(args),
        kernels_(kernels),
        packed_(static_cast<const char*>(packed)),
        tiles_(tiles),
        first_tile_(first_tile),
        end_tile_(end_tile),
        first_row_(tiles.Start(first_tile)),
        rows_(tiles.Start(end_tile) - first_row_),
        weight_row_bytes_(kPanelColumns * WeightBytes(args.type)),
        panel_(panel),
        weights_(static_cast<const char*>(args.weights) + panel * args.k * weight_row_bytes_),
        sums_(sums) {}

  void Run() {
    const bool any = SumLeaves(0, args_.num_leaves, 0);
    if (!any) std::fill_n(sums_, rows_ * kPanelColumns, 0.0f);
    WriteOutput();
  }

 private:
  float* Sums(int level) const { return sums_ + level * kGroupRows * kPanelColumns; }

  // Leaves [low, high) joined by halving, into Sums(level). False when all are empty.
  bool SumLeaves(int low, int high, int level) {
    if (high - low == 1) {
      if (args_.leaf_start[low] == args_.leaf_start[high]) return false;
      RunLeaf(args_.leaf_start[low], args_.leaf_start[high], Sums(level));
      return true;
    }
    const int middle = (low + high) / 2;
    if (!SumLeaves(low, middle, level)) return SumLeaves(middle, high, level);
    if (!SumLeaves(middle, high, level + 1)) return true;
    float* left = Sums(level);
    const float* right = Sums(level + 1);
    for (int64_t i = 0; i < rows_ * kPanelColumns; ++i) left[i] += right[i];
    return true;
  }

  // One tile streams the weights once. Several pass over one block of them after the other, while the next block is
  // being fetched.
  void RunLeaf(int64_t k_begin, int64_t k_end, float* sums) const {
    const int64_t tiles = end_tile_ - first_tile_;
    if (tiles == 1) {
      const char* ahead = weights_ + k_begin * weight_row_bytes_ + kStreamAheadBytes;
      RunTile(first_tile_, k_begin, k_end, false, ahead, 4, sums);
      return;
    }
    const int64_t block_bytes = tiles <= kSmallBlockTiles ? kSmallBlockBytes : kLargeBlockBytes;
    const int64_t block_k = block_bytes / weight_row_bytes_;
    for (int64_t k = k_begin; k < k_end; k += block_k) {
      const int64_t block_end = std::min(k + block_k, k_end);
      const char* next = weights_ + block_end * weight_row_bytes_;
      const int lines = tiles <= 3 ? 2 : 1;  // passes 0 .. 4 / lines - 1 fetch the next block
      for (int64_t t = 0; t < tiles; ++t) {
        const int64_t share = (block_end - k) * weight_row_bytes_ * lines / 4;
        const bool fetches = t < 4 / lines;
        RunTile(first_tile_ + t, k, block_end, k > k_begin, next + t * share, fetches ? lines : 0, sums);
      }
    }
  }

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
  const MatMulKernels& kernels_;
  const char* packed_;
  const Tiles tiles_;
  const int64_t first_tile_, end_tile_;
  const int64_t first_row_, rows_;
  const int64_t weight_row_bytes_;
  const int64_t panel_;
  const char* weights_;  // of the panel
  float* sums_;          // [kTreeLevels][kGroupRows][64]
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

const void* MatMulRunner::PackActivations(const MatMulArgs& args, const MatMulKernels& kernels, int64_t num_tiles) {
  if (args.m == 1 && kernels.pack_rows == PackRowsFloat32) return args.x;  // is packed as it stands
  const size_t bytes = static_cast<size_t>(args.m * args.k * kernels.activation_bytes);
  if (bytes > packed_bytes_) {
    packed_ = MakeBuffer(bytes);
    packed_bytes_ = bytes;
  }
  const Tiles tiles = {args.m, num_tiles};
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
  const MatMulKernels& kernels = kernels_.matmul[static_cast<int>(args.type)];
  const Tiles tiles = {args.m, (args.m + kTileRows - 1) / kTileRows};
  const void* packed = PackActivations(args, kernels, tiles.count);
  const int64_t panels = (args.n + kPanelColumns - 1) / kPanelColumns;
  const int64_t groups = (tiles.count + kGroupTiles - 1) / kGroupTiles;
  // Groups of one panel follow each other: its weights are read from memory once.
  pool_.For(panels * groups, [&](int64_t index, int worker) {
    const int64_t group = index % groups;
    PanelTask(args, kernels, packed, tiles, group * tiles.count / groups, (group + 1) * tiles.count / groups,
              index / groups, static_cast<float*>(sums_[worker].get()))
        .Run();
  });
}

}  // namespace slmmesh::kernels
