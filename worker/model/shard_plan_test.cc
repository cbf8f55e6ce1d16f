#include "worker/model/shard_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace slmmesh {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// SmolLM2-135M: three KV heads of nine, 48 units of 32 MLP columns, 768 panels of the vocabulary.
ModelConfig SmolLm2() {
  ModelConfig config;
  config.hidden_size = 576;
  config.num_layers = 30;
  config.num_q_heads = 9;
  config.num_kv_heads = 3;
  config.head_dim = config.rotary_dim = 64;
  config.intermediate_size = 1536;
  config.vocab_size = 49152;
  return config;
}

TEST(PlanShard, CutsUnevenHeadsByHalving) {
  const ShardPlan first = *PlanShard(SmolLm2(), 0, 2);
  EXPECT_EQ(first.kv_heads.size(), 2);
  EXPECT_EQ(first.q_heads.begin, 0);
  EXPECT_EQ(first.q_heads.end, 6);
  EXPECT_THAT(first.attention.leaf_start, ElementsAre(0, 192, 192, 384, 384));
  EXPECT_EQ(first.attention.contributors, 0b11u);

  const ShardPlan second = *PlanShard(SmolLm2(), 1, 2);
  EXPECT_EQ(second.q_heads.begin, 6);
  EXPECT_EQ(second.attention.columns.begin, 384);
  EXPECT_EQ(second.attention.columns.end, 576);
  EXPECT_THAT(second.attention.leaf_start, ElementsAre(0, 192, 192, 192, 192));
}

TEST(PlanShard, GivesARankNothingWhereThereIsNothingLeft) {
  const ShardPlan plan = *PlanShard(SmolLm2(), 1, 8);
  EXPECT_EQ(plan.kv_heads.size(), 0);
  EXPECT_EQ(plan.attention.columns.size(), 0);
  EXPECT_EQ(plan.attention.contributors, 0b10101u);
  EXPECT_EQ(plan.mlp.columns.size(), 192);
  EXPECT_EQ(plan.mlp.contributors, 0xFFu);
}

TEST(PlanShard, CutsTheMlpInUnitsThatDivideIt) {
  ModelConfig config = SmolLm2();
  config.intermediate_size = 100;  // units of 4: 25 of them
  EXPECT_THAT(PlanShard(config, 0, 1)->mlp.leaf_start, ElementsAre(0, 16, 28, 40, 52, 64, 76, 88, 100));
}

TEST(PlanShard, CutsTheVocabularyInWholePanels) {
  ModelConfig config = SmolLm2();
  config.vocab_size = 200;  // 4 panels, the last one of 8 columns
  EXPECT_THAT(PlanShard(config, 1, 2)->vocab_columns, ElementsAre(128, 72));
  EXPECT_THAT(PlanShard(config, 5, 8)->vocab_columns, ElementsAre(64, 0, 64, 0, 64, 0, 8, 0));
  EXPECT_EQ(PlanShard(config, 6, 8)->vocab.begin, 192);
  EXPECT_EQ(PlanShard(config, 6, 8)->vocab.end, 200);
}

TEST(PlanShard, RefusesOtherDegreesRanksAndOddSizes) {
  EXPECT_THAT(PlanShard(SmolLm2(), 0, 3).status().message(), HasSubstr("tensorParallelSize is 3: use 1, 2, 4 or 8"));
  EXPECT_EQ(PlanShard(SmolLm2(), 2, 2).status().code(), absl::StatusCode::kInvalidArgument);
  ModelConfig odd = SmolLm2();
  odd.intermediate_size = 1535;
  EXPECT_THAT(PlanShard(odd, 0, 1).status().message(), HasSubstr("intermediate_size is 1535"));
}

}  // namespace
}  // namespace slmmesh
