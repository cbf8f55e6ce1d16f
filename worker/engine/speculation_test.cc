// Speculation over the real decoder: random models as target and draft, one rank and two. What is guessed, by whom and
// with which cache may change no token and no log-probability.
#include "worker/engine/speculation.h"

#include <gtest/gtest.h>

#include <map>

#include "worker/engine/engine.h"
#include "worker/engine/testing_submit.h"
#include "worker/model/testing/model_group.h"
#include "worker/model/testing/random_checkpoint.h"
#include "worker/model/testing/schedule.h"

namespace slmmesh {
namespace {

constexpr uint32_t kBlockSize = 16;
constexpr uint32_t kNumBlocks = 14;  // three requests of 80 tokens do not fit

class GroupAsRunner : public ModelRunner {
 public:
  GroupAsRunner(std::shared_ptr<const Checkpoint> checkpoint, int size)
      : group_(
            ModelGroup::Create(std::move(checkpoint), {.size = size, .isa = kernels::SupportedIsas().back()}).value()) {
    EXPECT_TRUE(group_->ResetKvCache({kernels::KvType::kBFloat16, kNumBlocks, kBlockSize}).ok());
  }
  uint32_t vocab_size() const override { return static_cast<uint32_t>(group_->model(0).config().vocab_size); }
  absl::Status Run(const StepBatch& batch, absl::Span<const float>* logits) override {
    logits_ = group_->Forward(batch).value();
    *logits = logits_;
    return absl::OkStatus();
  }
  Model* model(int rank) { return &group_->model(rank); }

 private:
  std::unique_ptr<ModelGroup> group_;
  std::vector<float> logits_;
};

ModelConfig Config(int64_t hidden_size, int64_t num_kv_heads) {
  ModelConfig config;
  config.hidden_size = hidden_size;
  config.num_layers = 2;
  config.num_kv_heads = num_kv_heads;
  config.num_q_heads = 2 * num_kv_heads;
  config.head_dim = config.rotary_dim = 8;
  config.intermediate_size = 64;
  config.vocab_size = 40;
  config.max_positions = 128;
  config.sliding_window = {0, 20};
  return config;
}

using Answers = std::map<uint64_t, std::vector<std::string>>;

std::vector<v1::Submit> Requests() {
  std::mt19937_64 random(7);
  const Tokens prefix = RandomTokens(random, 20, 40);
  std::vector<v1::Submit> requests;
  for (uint32_t i = 0; i < 6; ++i) {
    Tokens prompt = i % 2 == 0 ? prefix : Tokens();
    const Tokens rest = RandomTokens(random, 5 + 4 * i, 40);
    prompt.insert(prompt.end(), rest.begin(), rest.end());
    v1::Submit submit = GreedySubmit(prompt, 40);
    submit.mutable_sampling()->set_temperature(i < 2 ? 0.0f : 0.3f);
    submit.mutable_sampling()->set_seed(i);
    submit.mutable_sampling()->set_top_logprobs(2);
    if (i == 5) submit.mutable_sampling()->set_frequency_penalty(0.4f);
    requests.push_back(submit);
  }
  return requests;
}

Answers AnswersOf(GroupAsRunner* target, const SpeculationOptions& speculation, ModelRunner* draft,
                  EngineStats* stats) {
  EngineOptions options;
  options.num_blocks = kNumBlocks;
  options.block_size = kBlockSize;
  options.max_model_len = 100;
  options.max_num_batched_tokens = 64;
  options.max_num_seqs = 4;
  options.speculation = speculation;
  const auto engine = Engine::Create(options, target, &Clock::Real(), draft).value();
  uint64_t id = 0;
  for (const v1::Submit& submit : Requests()) EXPECT_TRUE(engine->Submit({id++, submit}).ok());
  Answers answers;
  while (engine->HasWork()) {
    std::vector<EngineOutput> outputs;
    bool worked = false;
    EXPECT_TRUE(engine->Step(&outputs, &worked).ok());
    for (EngineOutput& output : outputs) {
      output.output.clear_queue_us();
      output.output.clear_cached_tokens();
      answers[output.id].push_back(output.output.DebugString());
    }
  }
  *stats = engine->stats();
  return answers;
}

class SpeculationTest : public testing::TestWithParam<int> {
 protected:
  void Compare(const SpeculationOptions& speculation, ModelRunner* draft) {
    const Answers answers = AnswersOf(&target_, speculation, draft, &stats_);
    EXPECT_EQ(answers, AnswersOf(&target_, {}, nullptr, &plain_stats_));
    EXPECT_GT(stats_.speculation.accepted, 0u);
    EXPECT_LT(stats_.speculation.accepted, stats_.speculation.guessed);
    EXPECT_GT(stats_.preemptions + plain_stats_.preemptions, 0u);
    EXPECT_GT(stats_.prefix_hit_tokens, 0u);
  }

  const int size_ = GetParam();
  GroupAsRunner target_{std::make_shared<RandomCheckpoint>(Config(32, 2), 1), size_};
  EngineStats stats_, plain_stats_;
};

// The target's weights, a little off, as if they had been rounded.
std::shared_ptr<RandomCheckpoint> Rounded(float error) {
  auto checkpoint = std::make_shared<RandomCheckpoint>(Config(32, 2), 1);
  float sign = error;
  for (float& value : checkpoint->values("model.layers.1.mlp.down_proj.weight")) value += (sign = -sign);
  return checkpoint;
}

TEST_P(SpeculationTest, ACopyThatSharesTheTargetsCacheChangesNothing) {
  GroupAsRunner copy(Rounded(0.05f), size_);
  for (int rank = 0; rank < size_; ++rank) ASSERT_TRUE(copy.model(rank)->ShareKvCache(target_.model(rank)).ok());
  Compare({.method = SpeculationMethod::kSelfQuantized, .adapts = false}, &copy);
  EXPECT_GT(2 * stats_.speculation.accepted, stats_.speculation.guessed) << "it no longer reads the target's cache";
}

TEST_P(SpeculationTest, AnotherModelWithACacheOfItsOwnChangesNothing) {
  GroupAsRunner draft(std::make_shared<RandomCheckpoint>(Config(16, 1), 2), size_);
  Compare({.method = SpeculationMethod::kDraft, .adapts = false}, &draft);
}

// A perfect draft whose cache is its own: every guess is right, or its cache lacks something.
TEST_P(SpeculationTest, TheSameModelWithACacheOfItsOwnIsAlwaysRight) {
  GroupAsRunner draft(std::make_shared<RandomCheckpoint>(Config(32, 2), 1), size_);
  const Answers answers = AnswersOf(&target_, {.method = SpeculationMethod::kDraft, .adapts = false}, &draft, &stats_);
  EXPECT_EQ(answers, AnswersOf(&target_, {}, nullptr, &plain_stats_));
  EXPECT_EQ(stats_.speculation.accepted, stats_.speculation.guessed);
  EXPECT_GT(stats_.speculation.accepted, 100u);
}

TEST_P(SpeculationTest, NgramsChangeNothing) {
  Compare({.method = SpeculationMethod::kNgram, .adapts = false}, nullptr);
}

INSTANTIATE_TEST_SUITE_P(Ranks, SpeculationTest, testing::Values(1, 2));

TEST(ShareKvCacheTest, RefusesAnotherShape) {
  GroupAsRunner target(std::make_shared<RandomCheckpoint>(Config(32, 2), 1), 1);
  GroupAsRunner other(std::make_shared<RandomCheckpoint>(Config(16, 1), 2), 1);
  GroupAsRunner half(std::make_shared<RandomCheckpoint>(Config(32, 2), 1), 2);
  EXPECT_EQ(other.model(0)->ShareKvCache(target.model(0)).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(half.model(0)->ShareKvCache(target.model(0)).code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace slmmesh
