// Loading and its refusals, memory, and a step's bounds. The numbers are held in company_test and in tests/golden.
#include "worker/model/decoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "worker/model/testing/model_group.h"
#include "worker/model/testing/random_checkpoint.h"
#include "worker/model/testing/schedule.h"

namespace slmmesh {
namespace {

using ::testing::HasSubstr;

ModelConfig SmallConfig() { return SmallModelConfig(2); }

class DecoderTest : public testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<Model>> Load(const ModelOptions& options = {}) {
    return Model::Load(checkpoint_, backend_.get(), options);
  }

  std::shared_ptr<RandomCheckpoint> checkpoint_ = std::make_shared<RandomCheckpoint>(SmallConfig(), 1);
  std::unique_ptr<kernels::Backend> backend_ = kernels::CreateCpuBackend({.threads = 1});
  ThreadGroup threads_{1};
};

TEST_F(DecoderTest, ReportsProgressThatEndsAtOne) {
  std::vector<double> fractions;
  ModelOptions options;
  options.progress = [&fractions](double fraction) { fractions.push_back(fraction); };
  ASSERT_TRUE(Load(options).ok());
  EXPECT_TRUE(std::is_sorted(fractions.begin(), fractions.end()));
  EXPECT_GE(fractions.front(), 0.0);
  EXPECT_EQ(fractions.back(), 1.0);
}

TEST_F(DecoderTest, RefusesValuesThatAreNotFinite) {
  for (const char* name : {"model.layers.1.mlp.up_proj.weight", "model.embed_tokens.weight", "lm_head.weight",
                           "model.layers.0.input_layernorm.weight", "model.norm.weight"}) {
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
      float& value = checkpoint_->values(name).back();
      const float good = std::exchange(value, bad);
      const absl::Status status = Load().status();
      EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
      EXPECT_THAT(std::string(status.message()), HasSubstr(name));
      value = good;
    }
  }
  EXPECT_TRUE(Load().ok());
}

TEST_F(DecoderTest, ReadsItsOwnShareOnly) {
  const std::string name = "model.layers.1.mlp.up_proj.weight";
  checkpoint_->values(name).back() = std::numeric_limits<float>::quiet_NaN();  // in the last rank's rows
  ModelOptions options;
  options.size = 2;
  EXPECT_TRUE(Load(options).ok());
  options.rank = 1;
  EXPECT_THAT(std::string(Load(options).status().message()), HasSubstr(name));
}

TEST_F(DecoderTest, RefusesAMissingTensor) {
  checkpoint_->Remove("model.layers.1.self_attn.k_proj.weight");
  EXPECT_THAT(std::string(Load().status().message()), HasSubstr("model.layers.1.self_attn.k_proj.weight"));
}

TEST_F(DecoderTest, RefusesALengthBeyondTheModel) {
  ModelOptions options;
  options.max_model_len = 129;
  EXPECT_THAT(std::string(Load(options).status().message()), HasSubstr("maxModelLen is 129"));
  EXPECT_EQ((*Load())->max_model_len(), 128);
}

TEST_F(DecoderTest, SplitsWeightsAndCacheOverTheRanks) {
  const std::unique_ptr<Model> whole = *Load();
  uint64_t weights = 0;
  uint64_t block_bytes = 0;
  for (int rank = 0; rank < 4; ++rank) {
    ModelOptions options;
    options.rank = rank;
    options.size = 4;
    const std::unique_ptr<Model> shard = *Load(options);
    weights += shard->weight_bytes();
    block_bytes += shard->KvBytesPerBlock(kernels::KvType::kFloat32, 16);
    EXPECT_LT(shard->weight_bytes(), whole->weight_bytes() * 2 / 3);
    EXPECT_EQ(shard->KvBytesPerBlock(kernels::KvType::kFloat32, 16) == 0, rank % 2 == 1);  // two KV heads, four ranks
  }
  EXPECT_GE(weights, whole->weight_bytes());  // padding of panels, and norms on every rank
  EXPECT_EQ(block_bytes, whole->KvBytesPerBlock(kernels::KvType::kFloat32, 16));
}

TEST_F(DecoderTest, RefusesACacheThatDoesNotFit) {
  const std::unique_ptr<Model> model = *Load();
  KvCacheOptions cache;
  EXPECT_EQ(model->ResetKvCache(cache).code(), absl::StatusCode::kInvalidArgument);
  cache.num_blocks = 4;
  cache.block_size = 24;
  EXPECT_EQ(model->ResetKvCache(cache).code(), absl::StatusCode::kInvalidArgument);
  cache.block_size = 16;
  cache.num_blocks = int64_t{1} << 40;
  EXPECT_EQ(model->ResetKvCache(cache).code(), absl::StatusCode::kResourceExhausted);
}

TEST_F(DecoderTest, RefusesAStepWithoutACacheOrOutOfBounds) {
  const std::unique_ptr<Model> model = *Load();
  StepBatch batch;
  batch.tokens = batch.positions = batch.block_table = {0};
  batch.query_start = batch.block_start = {0, 1};
  absl::Span<const float> logits;
  EXPECT_EQ(model->Forward(batch, threads_.communicator(0), &logits).code(), absl::StatusCode::kFailedPrecondition);
  KvCacheOptions cache;
  cache.num_blocks = 1;
  ASSERT_TRUE(model->ResetKvCache(cache).ok());
  EXPECT_TRUE(model->Forward(batch, threads_.communicator(0), &logits).ok());
  EXPECT_TRUE(logits.empty());
  batch.block_table = {1};
  EXPECT_EQ(model->Forward(batch, threads_.communicator(0), &logits).code(), absl::StatusCode::kInvalidArgument);
  ThreadGroup two(2);
  EXPECT_EQ(model->Forward(batch, two.communicator(0), &logits).code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(DecoderTest, ANewCacheAndALargerStepChangeNoBit) {
  const std::unique_ptr<ModelGroup> group = *ModelGroup::Create(checkpoint_, {});
  std::mt19937_64 random(7);
  const Tokens tokens = RandomTokens(random, 20, SmallConfig().vocab_size);
  const Logits first = *RunAlone(*group, tokens, {});
  ASSERT_TRUE(RunAlone(*group, RandomTokens(random, 100, SmallConfig().vocab_size), {}).ok());
  EXPECT_EQ(*RunAlone(*group, tokens, {}), first);
}

}  // namespace
}  // namespace slmmesh
