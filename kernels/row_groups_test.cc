// How a product's rows are cut: rows that a thread has made ready stay with it.
#include <gtest/gtest.h>

#include "kernels/cpu/panel_sums.h"

namespace slmmesh::kernels {
namespace {

TEST(RowGroupsTest, EachThreadItsOwnRows) {
  EXPECT_EQ(RowGroups(32, 3, 48, 2), 2);
  EXPECT_EQ(RowGroups(128, 3, 48, 4), 4);
  EXPECT_EQ(RowGroups(512, 6, 48, 2), 4);    // none of more than kGroupRows, as many for one thread as for the other
  EXPECT_EQ(RowGroups(128, 6, 48, 64), 2);   // many threads share the rows, or each would read all weights for two
  EXPECT_EQ(RowGroups(4096, 6, 48, 1), 22);  // one thread: as few as hold kGroupRows each
}

TEST(RowGroupsTest, FewRowsAreCutWhereThreadsWouldWait) {
  EXPECT_EQ(RowGroups(8, 3, 48, 2), 1);
  EXPECT_EQ(RowGroups(8, 3, 9, 2), 2);  // nine panels: one thread would have five of them, the other four
  EXPECT_EQ(RowGroups(3, 3, 9, 2), 1);  // but one tile is not cut
}

}  // namespace
}  // namespace slmmesh::kernels
