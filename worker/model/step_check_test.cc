#include "worker/model/step_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>

namespace slmmesh {
namespace {

constexpr StepLimits kLimits = {.vocab_size = 100, .max_model_len = 40, .num_blocks = 6, .block_size = 16};

// A prompt's chunk at positions 14 … 16 (two blocks), and a decoding sequence at position 39 (three blocks).
StepBatch GoodBatch() {
  StepBatch batch;
  batch.tokens = {5, 99, 0, 7};
  batch.positions = {14, 15, 16, 39};
  batch.query_start = {0, 3, 4};
  batch.block_table = {5, 0, 1, 2, 3};
  batch.block_start = {0, 2, 5};
  batch.logit_rows = {2, 3};
  return batch;
}

TEST(CheckStepBatch, AcceptsAStepWithinItsBounds) {
  EXPECT_TRUE(CheckStepBatch(GoodBatch(), kLimits).ok());
  StepBatch without_logits = GoodBatch();
  without_logits.logit_rows = {};
  EXPECT_TRUE(CheckStepBatch(without_logits, kLimits).ok());
}

struct BadStep {
  std::string name;
  std::function<void(StepBatch&)> spoil;
  std::string message;
};

class CheckStepBatchTest : public testing::TestWithParam<BadStep> {};

TEST_P(CheckStepBatchTest, RefusesWhatWouldLeaveItsMemory) {
  StepBatch batch = GoodBatch();
  GetParam().spoil(batch);
  const absl::Status status = CheckStepBatch(batch, kLimits);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    All, CheckStepBatchTest,
    testing::Values(
        BadStep{"Empty", [](StepBatch& b) { b = StepBatch(); }, "no tokens"},
        BadStep{"Token", [](StepBatch& b) { b.tokens[1] = 100; }, "token 100 is not below vocab_size 100"},
        BadStep{"MissingPosition", [](StepBatch& b) { b.positions.pop_back(); }, "3 positions for 4 tokens"},
        BadStep{"Gap", [](StepBatch& b) { b.positions[1] = 13; }, "positions of sequence 0 are not consecutive"},
        BadStep{"Position", [](StepBatch& b) { b.positions[3] = 40; }, "position 40 is not below max_model_len 40"},
        BadStep{"Block", [](StepBatch& b) { b.block_table[4] = 6; }, "block 6 is not below num_blocks 6"},
        BadStep{"ShortTable",
                [](StepBatch& b) {
                  b.block_start = {0, 1, 5};
                },
                "which do not cover position 16"},
        BadStep{"NoSequences", [](StepBatch& b) { b.query_start = {0}; }, "no sequences"},
        BadStep{"EmptySequence",
                [](StepBatch& b) {
                  b.query_start = {0, 4, 4};
                },
                "leaves sequence 1 empty"},
        BadStep{"QueryEnd",
                [](StepBatch& b) {
                  b.query_start = {0, 3, 5};
                },
                "query_start does not run from 0 to 4"},
        BadStep{"BlockEnd",
                [](StepBatch& b) {
                  b.block_start = {0, 2, 9};
                },
                "block_start does not run from 0 to 5"},
        BadStep{"BlockStarts",
                [](StepBatch& b) {
                  b.block_start = {0, 5};
                },
                "block_start has 2 entries"},
        BadStep{"LogitRow", [](StepBatch& b) { b.logit_rows = {4}; }, "logit row 4 is not below 4"},
        BadStep{"LogitOrder",
                [](StepBatch& b) {
                  b.logit_rows = {3, 3};
                },
                "logit_rows do not ascend"}),
    [](const testing::TestParamInfo<BadStep>& info) { return info.param.name; });

}  // namespace
}  // namespace slmmesh
