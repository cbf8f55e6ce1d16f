// The choice between tiles and rows, by a clock that the kernels themselves advance.
#include "kernels/cpu/least_rows.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

namespace slmmesh::kernels {
namespace {

int64_t fake_now = 0;
int64_t rows_kernel_cost = 0;
int64_t most_rows_seen = 0;

template <int kRows>
void TileOf10ns(const IntegerTileArgs& /*args*/) {
  fake_now += 10 * kRows;
}
void RowsKernel(const IntegerTileArgs& /*args*/, int64_t rows) {
  fake_now += rows_kernel_cost;
  most_rows_seen = std::max(most_rows_seen, rows);
}

int64_t Measure(int64_t cost) {
  rows_kernel_cost = cost;
  const IntegerKernels kernels = {.int8_per_row = {3, {TileOf10ns<1>, TileOf10ns<2>, TileOf10ns<3>}},
                                  .rows = RowsKernel};
  return MeasureLeastRows(kernels, [] { return fake_now; });
}

TEST(LeastRowsTest, IsWhereTheRowsKernelBecomesFaster) {
  EXPECT_EQ(Measure(1), 4);
  EXPECT_EQ(Measure(79), 8);
  EXPECT_EQ(Measure(80), 12);  // as fast is not faster
  EXPECT_EQ(Measure(150), 16);
  EXPECT_EQ(Measure(639), 64);
}

TEST(LeastRowsTest, IsNeverWhereItIsAlwaysSlower) {
  most_rows_seen = 0;
  EXPECT_EQ(Measure(1'000'000), std::numeric_limits<int64_t>::max());
  EXPECT_EQ(most_rows_seen, 64);  // and no more was tried
}

TEST(LeastRowsTest, ClockRuns) {
  const int64_t start = NowNanoseconds();
  EXPECT_GE(NowNanoseconds(), start);
}

}  // namespace
}  // namespace slmmesh::kernels
