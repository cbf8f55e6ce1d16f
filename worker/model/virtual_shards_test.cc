#include "worker/model/virtual_shards.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace slmmesh {
namespace {

using ::testing::ElementsAre;

TEST(HalveIntoLeaves, GivesTheLeftHalfTheOddUnit) {
  EXPECT_THAT(HalveIntoLeaves(8), ElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 8));
  EXPECT_THAT(HalveIntoLeaves(3), ElementsAre(0, 1, 1, 2, 2, 3, 3, 3, 3));  // leaves 1,0,1,0,1,0,0,0
  EXPECT_THAT(HalveIntoLeaves(1), ElementsAre(0, 1, 1, 1, 1, 1, 1, 1, 1));
  EXPECT_THAT(HalveIntoLeaves(11), ElementsAre(0, 2, 3, 5, 6, 8, 9, 10, 11));
  EXPECT_THAT(HalveIntoLeaves(0), ElementsAre(0, 0, 0, 0, 0, 0, 0, 0, 0));
}

TEST(HalveIntoLeaves, CutsEveryRangeIntoAscendingLeavesThatDifferByOne) {
  for (int64_t units = 0; units < 300; ++units) {
    const LeafStarts starts = HalveIntoLeaves(units);
    ASSERT_EQ(starts[0], 0);
    ASSERT_EQ(starts[kVirtualShards], units);
    for (int leaf = 0; leaf < kVirtualShards; ++leaf) {
      const int64_t size = starts[leaf + 1] - starts[leaf];
      ASSERT_GE(size, units / kVirtualShards) << units << " leaf " << leaf;
      ASSERT_LE(size, (units + kVirtualShards - 1) / kVirtualShards) << units << " leaf " << leaf;
    }
  }
}

TEST(RankRange, CoversAllUnitsOnceAtEveryDegree) {
  for (int64_t units : {1, 2, 3, 5, 8, 9, 48}) {
    const LeafStarts leaves = HalveIntoLeaves(units);
    for (int size : {1, 2, 4, 8}) {
      int64_t next = 0;
      for (int rank = 0; rank < size; ++rank) {
        const UnitRange range = RankRange(leaves, rank, size);
        EXPECT_EQ(range.begin, next);
        next = range.end;
      }
      EXPECT_EQ(next, units);
    }
  }
}

TEST(ContributorMask, HasABitForEachRankThatOwnsSomething) {
  const LeafStarts three = HalveIntoLeaves(3);
  EXPECT_EQ(ContributorMask(three, 1), 0b1u);
  EXPECT_EQ(ContributorMask(three, 2), 0b11u);
  EXPECT_EQ(ContributorMask(three, 4), 0b111u);
  EXPECT_EQ(ContributorMask(three, 8), 0b10101u);
  EXPECT_EQ(ContributorMask(HalveIntoLeaves(1), 8), 0b1u);
}

}  // namespace
}  // namespace slmmesh
