// Which rows the last layer goes on with, as sequences.
#include "worker/model/logit_rows.h"

#include <gtest/gtest.h>

namespace slmmesh {
namespace {

using Numbers = std::vector<uint32_t>;

// Three sequences of 4, 1 and 5 tokens, over blocks {7, 8}, {3} and {5, 2, 9}.
StepBatch ThreeSequences(Numbers logit_rows) {
  return {.tokens = Numbers(10),
          .positions = {20, 21, 22, 23, 6, 40, 41, 42, 43, 44},
          .query_start = {0, 4, 5, 10},
          .block_table = {7, 8, 3, 5, 2, 9},
          .block_start = {0, 2, 3, 6},
          .logit_rows = std::move(logit_rows)};
}

struct Selected {
  explicit Selected(Numbers logit_rows) {
    LogitRows rows;
    rows.Select(ThreeSequences({0, 1, 9}));  // leaves nothing behind
    const kernels::SequenceLayout layout = rows.Select(ThreeSequences(std::move(logit_rows)));
    query_start.assign(layout.query_start, layout.query_start + layout.num_sequences + 1);
    positions.assign(layout.positions, layout.positions + layout.num_tokens);
    for (int64_t s = 0; s < layout.num_sequences; ++s) {
      blocks.emplace_back(layout.block_table + layout.block_start[s], layout.block_table + layout.block_start[s + 1]);
    }
  }
  Numbers query_start, positions;
  std::vector<Numbers> blocks;
};

TEST(LogitRowsTest, LastRowsOfSequences) {
  const Selected selected({3, 4, 9});
  EXPECT_EQ(selected.query_start, (Numbers{0, 1, 2, 3}));
  EXPECT_EQ(selected.positions, (Numbers{23, 6, 44}));
  EXPECT_EQ(selected.blocks, (std::vector<Numbers>{{7, 8}, {3}, {5, 2, 9}}));
}

TEST(LogitRowsTest, ASequenceWithoutARowIsLeftOut) {
  const Selected selected({8, 9});
  EXPECT_EQ(selected.query_start, (Numbers{0, 2}));
  EXPECT_EQ(selected.positions, (Numbers{43, 44}));
  EXPECT_EQ(selected.blocks, (std::vector<Numbers>{{5, 2, 9}}));
}

TEST(LogitRowsTest, AGapBeginsAnotherRunOfTheSameSequence) {
  const Selected selected({0, 2, 3, 5, 6, 9});
  EXPECT_EQ(selected.query_start, (Numbers{0, 1, 3, 5, 6}));
  EXPECT_EQ(selected.positions, (Numbers{20, 22, 23, 40, 41, 44}));
  EXPECT_EQ(selected.blocks, (std::vector<Numbers>{{7, 8}, {7, 8}, {5, 2, 9}, {5, 2, 9}}));
}

TEST(LogitRowsTest, NoRows) {
  const Selected selected({});
  EXPECT_EQ(selected.query_start, Numbers{0});
  EXPECT_TRUE(selected.positions.empty());
}

}  // namespace
}  // namespace slmmesh
