// The product with integer weights: quantizes x once, then walks panels, leaves and K blocks as for float weights. Sums
// of one group are exact and groups are added in ascending k, so no choice made here changes a bit.
#include <algorithm>
#include <cstdlib>

#include "kernels/cpu/integer_layout.h"
#include "kernels/cpu/matmul.h"
#include "kernels/cpu/panel_sums.h"
#include "kernels/cpu/row_source.h"

namespace slmmesh::kernels {
namespace {

const IntegerTiles& TilesFor(const IntegerKernels& kernels, const WeightFormat& format) {
  if (format.type == WeightType::kInt4) return kernels.int4_groups;
  return format.group == 0 ? kernels.int8_per_row : kernels.int8_groups;
}

int64_t AlignUp(int64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// From so many tiles a task on, widening int4 weights costs less than unpacking them in each, and results are so many
// that they miss the caches.
constexpr int64_t kManyTiles = 8;

// x quantized: quants [m][k] (rows lie k + kAlignment apart, or those of a power of two would share their cache lines'
// places), sums and shifts [m][k / block], scales [leaves][m].
struct QuantizedActivations {
  explicit QuantizedActivations(const MatMulArgs& args)
      : m(args.m),
        stride(AlignUp(args.k) + kAlignment),
        num_leaves(args.num_leaves),
        block(IntegerLayout(args.format, args.k).block()),
        num_blocks(args.k / block) {}

  int64_t quant_bytes() const { return m * stride; }
  int64_t block_bytes() const { return AlignUp(m * num_blocks * static_cast<int64_t>(sizeof(int32_t))); }
  int64_t bytes() const {
    return quant_bytes() + 2 * block_bytes() + m * num_leaves * static_cast<int64_t>(sizeof(float));
  }
  void PlaceAt(void* memory) {
    quants = static_cast<int8_t*>(memory);
    sums = reinterpret_cast<int32_t*>(quants + quant_bytes());
    shifts = reinterpret_cast<int32_t*>(quants + quant_bytes() + block_bytes());
    scales = reinterpret_cast<float*>(quants + quant_bytes() + 2 * block_bytes());
  }
  // From column `begin` on, which starts a block.
  QuantizedBlocks At(int64_t row, int64_t begin) const {
    const int64_t b = row * num_blocks + begin / block;
    return {quants + row * stride + begin, sums + b, shifts + b};
  }

  int64_t m, stride, num_leaves, block, num_blocks;
  int8_t* quants = nullptr;
  int32_t *sums = nullptr, *shifts = nullptr;
  float* scales = nullptr;
};

void QuantizeRow(const MatMulArgs& args, const KernelTable& kernels, const QuantizedActivations& to, int64_t row) {
  MakeRow(kernels, args.source, args.k, row);
  const float* x = args.x + row * args.x_stride;
  for (int l = 0; l < args.num_leaves; ++l) {
    const int64_t begin = args.leaf_start[l], count = args.leaf_start[l + 1] - begin;
    if (count == 0) continue;
    to.scales[l * to.m + row] = kernels.integer.quantize(x + begin, count, to.block, to.At(row, begin));
  }
}

class IntegerPanelTask {
 public:
  // `rows`: null, or the kernel that takes all tiles together.
  // `widened` has room for kMaxBlockBytes.
  IntegerPanelTask(const MatMulArgs& args, const IntegerKernels& kernels, IntegerRowsFunction rows,
                   const QuantizedActivations& x, const PanelPart& part, char* widened)
      : args_(args),
        kernels_(kernels),
        rows_(rows),
        x_(x),
        layout_(args.format, args.k),
        part_(part),
        widened_(widened),
        weights_(static_cast<const char*>(args.weights) + part.panel * layout_.panel_bytes()) {}

  void RunLeaf(int leaf) const {
    const int64_t begin = args_.leaf_start[leaf], end = args_.leaf_start[leaf + 1];
    const int64_t tiles = part_.tiles.count;
    if (tiles == 1 || rows_ != nullptr) {
      RunTiles(Stretch(leaf, begin, end, args_.format, At(begin)), leaf, 0, tiles);
    } else if (tiles >= kManyTiles && CanWiden()) {
      RunWidened(leaf, begin, end);
    } else {
      RunBlocks(leaf, begin, end);
    }
  }

 private:
  bool CanWiden() const {
    return args_.format.type == WeightType::kInt4 && kernels_.widen != nullptr &&
           IntegerLayout(Widened(args_.format), args_.k).group_bytes() <= kMaxBlockBytes;
  }

  // The group that begins with k; without groups, k's own quants.
  const char* At(int64_t k) const {
    if (args_.format.group == 0) return weights_ + layout_.header_bytes() + layout_.QuantBytes(k);
    return weights_ + k / args_.format.group * layout_.group_bytes();
  }

  void RunBlocks(int leaf, int64_t begin, int64_t end) const {
    const int64_t unit = args_.format.group == 0 ? x_.block : args_.format.group;
    const int64_t unit_bytes = args_.format.group == 0 ? x_.block * kPanelColumns : layout_.group_bytes();
    const int64_t tiles = part_.tiles.count;
    const int64_t block_k = BlockColumns(end - begin, unit, unit_bytes, BlockBytes(tiles));
    for (int64_t k = begin; k < end; k += block_k) {
      const int64_t block_end = std::min(k + block_k, end);
      const char* const next = At(block_end);
      IntegerTileArgs tile_args = Stretch(leaf, k, block_end, args_.format, At(k));
      for (int64_t t = 0; t < tiles; ++t) {
        const BlockFetch fetch(t, tiles, next - tile_args.weights);
        tile_args.prefetch = next + fetch.offset;
        tile_args.prefetch_lines = fetch.lines;
        RunTiles(tile_args, leaf, t, t + 1);
      }
    }
  }

  // The same over int4 weights that become int8 block by block. The first two tiles fetch the next block: a line of it
  // per 256 bytes of this one, which has twice its size.
  void RunWidened(int leaf, int64_t begin, int64_t end) const {
    const WeightFormat format = Widened(args_.format);
    const int64_t group_bytes = IntegerLayout(format, args_.k).group_bytes();
    const int64_t block_k = BlockColumns(end - begin, format.group, group_bytes, kMaxBlockBytes);
    for (int64_t k = begin; k < end; k += block_k) {
      const int64_t block_end = std::min(k + block_k, end), groups = (block_end - k) / format.group;
      kernels_.widen(args_.format, At(k), groups, widened_);
      IntegerTileArgs tile_args = Stretch(leaf, k, block_end, format, widened_);
      tile_args.prefetch = At(block_end);
      for (int64_t tile = 0; tile < part_.tiles.count; ++tile) {
        tile_args.prefetch_lines = tile < 2 ? 1 : 0;
        RunTiles(tile_args, leaf, tile, tile + 1);
        tile_args.prefetch += groups * group_bytes / 4;
      }
    }
  }

  // What all tiles over [begin, end) of a leaf's k are given, but for their rows. `weights`: the first group; without
  // groups the quants of the first k.
  IntegerTileArgs Stretch(int leaf, int64_t begin, int64_t end, const WeightFormat& format, const char* weights) const {
    const QuantizedBlocks x = x_.At(0, begin);
    return {
        .format = &format,
        .x = x.quants,
        .x_sums = x.sums,
        .x_shifts = x.shifts,
        .x_scales = end == args_.leaf_start[leaf + 1] ? x_.scales + leaf * x_.m : nullptr,
        .x_stride = x_.stride,
        .x_block_stride = x_.num_blocks,
        .weights = weights,
        .scales = weights_,
        .k = end - begin,
        .sums = part_.sums.Leaf(leaf),
        .resume = begin > args_.leaf_start[leaf],
        .prefetch = nullptr,
        .prefetch_lines = 0,
    };
  }

  void RunTiles(IntegerTileArgs args, int leaf, int64_t first, int64_t last) const {
    const int64_t task_row = part_.tiles.Start(first), rows = part_.tiles.Start(last) - task_row;
    const int64_t row = part_.first_row + task_row;
    const bool ends_leaf = args.x_scales != nullptr;
    args.x += row * args.x_stride;
    args.x_sums += row * args.x_block_stride;
    args.x_shifts += row * args.x_block_stride;
    if (ends_leaf) args.x_scales += row;
    args.sums += task_row * kPanelColumns;
    if (ends_leaf && part_.tiles.count >= kManyTiles) part_.sums.FetchOutput(leaf, task_row, rows);
    if (rows_ != nullptr) {
      rows_(args, rows);
    } else {
      TilesFor(kernels_, *args.format).tile[rows - 1](args);
    }
    if (ends_leaf) part_.sums.EndLeaf(leaf, task_row, rows);
  }

  const MatMulArgs& args_;
  const IntegerKernels& kernels_;
  const IntegerRowsFunction rows_;
  const QuantizedActivations& x_;
  const IntegerLayout layout_;
  const PanelPart& part_;
  char* const widened_;
  const char* weights_;  // of the panel
};

void CheckFormat(const MatMulArgs& args) {
  const WeightFormat& format = args.format;
  const int64_t unit = format.type == WeightType::kInt4 || format.group == 0 ? 32 : 16;
  if (format.group % unit != 0) std::abort();
  if (format.group == 0 &&
      (format.type == WeightType::kInt4 || format.has_minima || format.scale_type != ScaleType::kFloat32)) {
    std::abort();
  }
  for (int l = 0; l <= args.num_leaves; ++l) {
    if (args.leaf_start[l] % (format.group == 0 ? unit : format.group) != 0) std::abort();
  }
}

}  // namespace

void MatMulRunner::RunInteger(const MatMulArgs& args) {
  CheckFormat(args);
  QuantizedActivations x(args);
  ReservePacked(static_cast<size_t>(x.bytes()));
  x.PlaceAt(packed_.get());
  ForRowsOfX(args, [&](int64_t row) { QuantizeRow(args, kernels_, x, row); });
  const IntegerRowsFunction rows = args.m >= kernels_.integer.least_rows ? kernels_.integer.rows : nullptr;
  const IntegerTiles& tiles = TilesFor(kernels_.integer, args.format);
  const int64_t tile_rows = rows != nullptr ? kRowsTile : args.m <= tiles.streamed_rows ? args.m : tiles.tile_rows;
  RunPanels(args, tile_rows, [&](const PanelPart& part, int leaf) {
    IntegerPanelTask(args, kernels_.integer, rows, x, part, static_cast<char*>(widened_[part.worker].get()))
        .RunLeaf(leaf);
  });
}

}  // namespace slmmesh::kernels
