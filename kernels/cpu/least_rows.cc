#include "kernels/cpu/least_rows.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <vector>

#include "kernels/cpu/integer_layout.h"
#include "kernels/cpu/panel_sums.h"

namespace slmmesh::kernels {
namespace {

constexpr int64_t kRows[] = {4, 8, 12, 16, 24, 32, 64};
constexpr int64_t kMaxRows = 64;
constexpr int64_t kK = 768;
constexpr int kRepeats = 5;  // of which the fastest counts

// Zeros cost as much as other numbers.
struct alignas(kAlignment) Panel {
  char weights[kK * kPanelColumns] = {};
  int8_t x[kMaxRows * kK] = {};
  int32_t x_sums[kMaxRows * kK / 32] = {}, x_shifts[kMaxRows * kK / 32] = {};
  float scales[kPanelColumns] = {}, x_scales[kMaxRows] = {};
  alignas(kAlignment) float sums[kMaxRows * kPanelColumns] = {};
};

// With one scale a row: of all formats the one whose tiles have the least to do besides multiplying.
IntegerTileArgs Rows(Panel& panel, const WeightFormat& format, int64_t row) {
  return {.format = &format,
          .x = panel.x + row * kK,
          .x_sums = panel.x_sums + row * kK / 32,
          .x_shifts = panel.x_shifts + row * kK / 32,
          .x_scales = panel.x_scales + row,
          .x_stride = kK,
          .x_block_stride = kK / 32,
          .weights = panel.weights,
          .scales = reinterpret_cast<const char*>(panel.scales),
          .k = kK,
          .sums = panel.sums + row * kPanelColumns,
          .prefetch = panel.weights};
}

template <typename Work>
int64_t Fastest(int64_t (*now)(), const Work& work) {
  int64_t fastest = std::numeric_limits<int64_t>::max();
  for (int i = 0; i < kRepeats; ++i) {
    const int64_t start = now();
    work();
    fastest = std::min(fastest, now() - start);
  }
  return fastest;
}

}  // namespace

int64_t NowNanoseconds() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

int64_t MeasureLeastRows(const IntegerKernels& kernels, int64_t (*now)()) {
  const auto panel = std::make_unique<Panel>();
  const WeightFormat format(WeightType::kInt8, 0, ScaleType::kFloat32, false);
  const IntegerTiles& tile_kernels = kernels.int8_per_row;
  for (const int64_t rows : kRows) {
    const RowTiles tiles(rows, tile_kernels.tile_rows);
    const int64_t by_tiles = Fastest(now, [&] {
      for (int64_t t = 0; t < tiles.count; ++t) {
        tile_kernels.tile[tiles.Start(t + 1) - tiles.Start(t) - 1](Rows(*panel, format, tiles.Start(t)));
      }
    });
    if (Fastest(now, [&] { kernels.rows(Rows(*panel, format, 0), rows); }) < by_tiles) return rows;
  }
  return std::numeric_limits<int64_t>::max();
}

}  // namespace slmmesh::kernels
