#include "worker/server/kv_budget.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace slmmesh {
namespace {

constexpr uint64_t kMiB = 1 << 20;

KvBudget Budget() {
  KvBudget budget;
  budget.available_bytes = 1000 * kMiB;
  budget.weight_bytes = 100 * kMiB;
  budget.ranks_on_host = 1;
  budget.memory_utilization = 0.5;
  budget.bytes_per_block = 1 * kMiB;
  budget.block_size = 16;
  budget.max_model_len = 160;  // 10 blocks
  budget.max_num_seqs = 1000;
  return budget;
}

TEST(NumKvBlocks, TakesTheShareOfMemoryThatWeightsLeave) {
  EXPECT_EQ(*NumKvBlocks(Budget()), 450);  // half of 1000 + 100, less 100
}

TEST(NumKvBlocks, RanksOfOneHostShareItsMemory) {
  KvBudget budget = Budget();
  budget.ranks_on_host = 2;
  EXPECT_EQ(*NumKvBlocks(budget), 200);  // half of 500 + 100, less 100
}

TEST(NumKvBlocks, TakesNoMoreThanAllSequencesNeed) {
  KvBudget budget = Budget();
  budget.max_num_seqs = 3;
  EXPECT_EQ(*NumKvBlocks(budget), 30);
  budget.max_model_len = 161;
  EXPECT_EQ(*NumKvBlocks(budget), 33);
}

TEST(NumKvBlocks, ARankWithoutKvHeadsIsNoLimit) {
  KvBudget budget = Budget();
  budget.bytes_per_block = 0;
  budget.available_bytes = 0;
  EXPECT_EQ(*NumKvBlocks(budget), 10000);
}

TEST(NumKvBlocks, RefusesLessThanOneSequenceWithNumbersAndKnobs) {
  KvBudget budget = Budget();
  budget.max_model_len = 451 * 16;
  const absl::Status status = NumKvBlocks(budget).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("450 MiB are left"));
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("451 MiB"));
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("max-model-len"));
  budget.memory_utilization = 0.01;  // not even the weights
  EXPECT_EQ(NumKvBlocks(budget).status().code(), absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace slmmesh
