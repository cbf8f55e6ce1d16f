// What the store makes of a configuration: which weights the model's own copy takes from whom.
#include "worker/server/model_store.h"

#include <gtest/gtest.h>

#include <vector>

#include "common/metrics.h"
#include "worker/model/testing/one_block.h"
#include "worker/model/testing/random_checkpoint.h"

namespace slmmesh {
namespace {

using SmallCheckpoint = std::shared_ptr<RandomCheckpoint>;

class ModelStoreTest : public testing::Test {
 protected:
  static SmallCheckpoint SmallModel() { return std::make_shared<RandomCheckpoint>(SmallModelConfig(3), 1); }

  // What a copy made from `draft` (null: from the target) guesses after three tokens.
  std::vector<float> GuessOf(const SmallCheckpoint& draft) {
    WorkerConfig config;
    config.speculative_method = SpeculationMethod::kSelfQuantized;
    ModelStore store(config, SmallModel(), draft, kernels::CreateCpuBackend({.threads = 1}), &metrics_);
    const ShardModels models = *store.Get(0, 1, [](double) {});
    return *RunOneBlock(*models.draft, *models.target, {2});
  }

  Metrics registry_;
  WorkerMetrics metrics_{&registry_, "small"};
};

TEST_F(ModelStoreTest, ACopysLastLayerIsTheTargets) {
  const SmallCheckpoint first = SmallModel(), last = SmallModel();
  for (float& value : first->values("model.layers.0.mlp.down_proj.weight")) value = -value;
  for (float& value : last->values("model.layers.2.mlp.down_proj.weight")) value = -value;
  EXPECT_NE(GuessOf(first), GuessOf(nullptr));
  EXPECT_EQ(GuessOf(last), GuessOf(nullptr));
}

// Half of the head is half of every logit, but for those that the target's head says.
TEST_F(ModelStoreTest, ACopysLikeliestLogitsAreTheTargets) {
  const SmallCheckpoint half = SmallModel();
  for (float& value : half->values("lm_head.weight")) value /= 2;
  const std::vector<float> expected = GuessOf(nullptr), logits = GuessOf(half);
  int refined = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    const bool is_targets = logits[i] == expected[i];
    refined += is_targets ? 1 : 0;
    EXPECT_TRUE(is_targets || logits[i] == expected[i] / 2) << i;
  }
  EXPECT_EQ(refined, 32);
}

}  // namespace
}  // namespace slmmesh
