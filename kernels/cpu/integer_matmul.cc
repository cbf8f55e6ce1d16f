// The product with integer weights: quantizes x once, then walks panels, leaves and K blocks as for float weights. Sums
// of one group are exact and groups are added in ascending k, so no choice made here changes a bit.
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "kernels/cpu/integer_layout.h"
#include "kernels/cpu/matmul.h"
#include "kernels/cpu/panel_sums.h"

namespace slmmesh::kernels {
namespace {

const IntegerTiles& TilesFor(const IntegerKernels& kernels, const WeightFormat& format) {
  if (format.type == WeightType::kInt4) return kernels.int4_groups;
  return format.group == 0 ? kernels.int8_per_row : kernels.int8_groups;
}

int64_t AlignUp(int64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// x quantized, tile by tile: quants [k / 4][rows][4], sums and shifts [k / block][rows], scales [leaves][rows].
struct QuantizedActivations {
  QuantizedActivations(const MatMulArgs& args, int64_t tile_rows)
      : tiles(args.m, tile_rows),
        k(args.k),
        num_leaves(args.num_leaves),
        block(IntegerLayout(args.format, args.k).block()),
        num_blocks(args.k / block) {}

  int64_t quant_bytes() const { return AlignUp(tiles.m * k); }
  int64_t block_bytes() const { return AlignUp(tiles.m * num_blocks * static_cast<int64_t>(sizeof(int32_t))); }
  int64_t bytes() const {
    const int64_t scale_bytes = AlignUp(tiles.m * num_leaves * static_cast<int64_t>(sizeof(float)));
    return quant_bytes() + 2 * block_bytes() + scale_bytes;
  }
  void PlaceAt(void* memory) {
    quants = static_cast<int8_t*>(memory);
    sums = reinterpret_cast<int32_t*>(quants + quant_bytes());
    shifts = reinterpret_cast<int32_t*>(quants + quant_bytes() + block_bytes());
    scales = reinterpret_cast<float*>(quants + quant_bytes() + 2 * block_bytes());
  }

  int64_t Rows(int64_t tile) const { return tiles.Start(tile + 1) - tiles.Start(tile); }
  QuantizedBlocks Tile(int64_t tile) const {
    const int64_t row = tiles.Start(tile);
    return {quants + row * k, sums + row * num_blocks, shifts + row * num_blocks};
  }
  float* Scales(int64_t tile) const { return scales + tiles.Start(tile) * num_leaves; }

  RowTiles tiles;
  int64_t k, num_leaves, block, num_blocks;
  int8_t* quants = nullptr;
  int32_t *sums = nullptr, *shifts = nullptr;
  float* scales = nullptr;
};

// `row` has room for one row in the order of k, before it is spread between those of its tile.
void QuantizeTile(const MatMulArgs& args, const IntegerKernels& kernels, const QuantizedActivations& to, int64_t tile,
                  QuantizedBlocks row) {
  const int64_t rows = to.Rows(tile);
  const float* x = args.x + to.tiles.Start(tile) * args.x_stride;
  const QuantizedBlocks out = to.Tile(tile);
  float* const scales = to.Scales(tile);
  if (rows == 1) row = out;  // one row lies there as it is
  for (int64_t r = 0; r < rows; ++r, x += args.x_stride) {
    for (int l = 0; l < args.num_leaves; ++l) {
      const int64_t begin = args.leaf_start[l], count = args.leaf_start[l + 1] - begin;
      if (count == 0) continue;
      const int64_t b = begin / to.block;
      scales[l * rows + r] =
          kernels.quantize(x + begin, count, to.block, {row.quants + begin, row.sums + b, row.shifts + b});
    }
    if (rows == 1) return;
    for (int64_t i = 0; i < to.k / 4; ++i) std::memcpy(out.quants + (i * rows + r) * 4, row.quants + 4 * i, 4);
    for (int64_t b = 0; b < to.num_blocks; ++b) {
      out.sums[b * rows + r] = row.sums[b];
      out.shifts[b * rows + r] = row.shifts[b];
    }
  }
}

class IntegerPanelTask {
 public:
  IntegerPanelTask(const MatMulArgs& args, const IntegerTiles& kernels, const QuantizedActivations& x,
                   int64_t first_tile, int64_t end_tile, int64_t panel)
      : args_(args),
        kernels_(kernels),
        x_(x),
        layout_(args.format, args.k),
        first_tile_(first_tile),
        end_tile_(end_tile),
        weights_(static_cast<const char*>(args.weights) + panel * layout_.panel_bytes()) {}

  void RunLeaf(int leaf, float* sums) const {
    const int64_t begin = args_.leaf_start[leaf], end = args_.leaf_start[leaf + 1];
    const int64_t tiles = end_tile_ - first_tile_;
    if (tiles == 1) return RunTile(first_tile_, leaf, begin, end, At(begin), 0, sums);
    const int64_t unit = args_.format.group == 0 ? x_.block : args_.format.group;
    const int64_t unit_bytes = args_.format.group == 0 ? x_.block * kPanelColumns : layout_.group_bytes();
    const int64_t block_k = std::max(int64_t{1}, BlockBytes(tiles) / unit_bytes) * unit;
    for (int64_t k = begin; k < end; k += block_k) {
      const int64_t block_end = std::min(k + block_k, end);
      for (int64_t t = 0; t < tiles; ++t) {
        const BlockFetch fetch(t, tiles, At(block_end) - At(k));
        RunTile(first_tile_ + t, leaf, k, block_end, At(block_end) + fetch.offset, fetch.lines, sums);
      }
    }
  }

 private:
  // The group that begins with k; without groups, k's own quants.
  const char* At(int64_t k) const {
    if (args_.format.group == 0) return weights_ + layout_.header_bytes() + layout_.QuantBytes(k);
    return weights_ + k / args_.format.group * layout_.group_bytes();
  }

  void RunTile(int64_t tile, int leaf, int64_t begin, int64_t end, const char* prefetch, int prefetch_lines,
               float* sums) const {
    const int64_t rows = x_.Rows(tile);
    const int64_t first_block = begin / x_.block * rows;
    const QuantizedBlocks x = x_.Tile(tile);
    const IntegerTileArgs tile_args = {
        .format = &args_.format,
        .x = x.quants + begin * rows,
        .x_sums = x.sums + first_block,
        .x_shifts = x.shifts + first_block,
        .x_scales = end == args_.leaf_start[leaf + 1] ? x_.Scales(tile) + leaf * rows : nullptr,
        .weights = At(begin),
        .scales = weights_,
        .k = end - begin,
        .sums = sums + (x_.tiles.Start(tile) - x_.tiles.Start(first_tile_)) * kPanelColumns,
        .resume = begin > args_.leaf_start[leaf],
        .prefetch = prefetch,
        .prefetch_lines = prefetch_lines,
    };
    kernels_.tile[rows - 1](tile_args);
  }

  const MatMulArgs& args_;
  const IntegerTiles& kernels_;
  const QuantizedActivations& x_;
  const IntegerLayout layout_;
  const int64_t first_tile_, end_tile_;
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
  const IntegerTiles& kernels = TilesFor(kernels_.integer, args.format);
  QuantizedActivations x(args, kernels.tile_rows);
  // Behind x, a row's room for each worker.
  const int64_t sums_bytes = AlignUp(x.num_blocks * static_cast<int64_t>(sizeof(int32_t)));
  const int64_t row_bytes = AlignUp(x.k) + 2 * sums_bytes;
  ReservePacked(static_cast<size_t>(x.bytes() + pool_.threads() * row_bytes));
  x.PlaceAt(packed_.get());
  const auto quantize = [&](int64_t tile, int worker) {
    char* row = static_cast<char*>(packed_.get()) + x.bytes() + worker * row_bytes;
    char* sums = row + AlignUp(x.k);
    QuantizeTile(args, kernels_.integer, x, tile,
                 {reinterpret_cast<int8_t*>(row), reinterpret_cast<int32_t*>(sums),
                  reinterpret_cast<int32_t*>(sums + sums_bytes)});
  };
  if (args.m * args.k <= kSerialPackElements) {
    for (int64_t tile = 0; tile < x.tiles.count; ++tile) quantize(tile, 0);
  } else {
    pool_.For(x.tiles.count, quantize);
  }

  const int64_t panels = (args.n + kPanelColumns - 1) / kPanelColumns;
  const int64_t groups = RowGroups(x.tiles, kernels.tile_rows, kGroupRows, panels, pool_.threads());
  pool_.For(panels * groups, [&](int64_t index, int worker) {
    const int64_t group = index % groups, panel = index / groups;
    const int64_t first = group * x.tiles.count / groups, end = (group + 1) * x.tiles.count / groups;
    const IntegerPanelTask task(args, kernels, x, first, end, panel);
    PanelSums(args, panel, x.tiles.Start(first), x.tiles.Start(end) - x.tiles.Start(first), kGroupRows,
              static_cast<float*>(sums_[worker].get()))
        .Run([&](int leaf, float* sums) { task.RunLeaf(leaf, sums); });
  });
}

}  // namespace slmmesh::kernels
