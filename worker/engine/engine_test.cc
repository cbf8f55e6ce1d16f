#include "worker/engine/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "worker/engine/fake_runner.h"
#include "worker/engine/testing_submit.h"

namespace slmmesh {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr uint32_t kVocabSize = 50;
constexpr uint32_t kNumBlocks = 32;
constexpr uint32_t kBlockSize = 4;

class EngineTest : public ::testing::Test {
 protected:
  void SetUp() override { Start({}); }

  void Start(EngineOptions options) {
    options.num_blocks = kNumBlocks;
    options.block_size = kBlockSize;
    options.max_model_len = 64;
    options_ = options;
    engine_ = Engine::Create(options, &runner_, &clock_).value();
  }

  absl::Status Submit(uint64_t id, const v1::Submit& submit) { return engine_->Submit({id, submit}); }

  std::vector<EngineOutput> Step() {
    std::vector<EngineOutput> outputs;
    bool worked = false;
    const absl::Status status = engine_->Step(&outputs, &worked);
    EXPECT_TRUE(status.ok()) << status;
    return outputs;
  }

  // Steps until there is no work; the outputs of each request.
  std::map<uint64_t, std::vector<v1::TokenOutput>> Finish() {
    std::map<uint64_t, std::vector<v1::TokenOutput>> all;
    for (int step = 0; engine_->HasWork() && step < 1000; ++step) {
      for (const EngineOutput& output : Step()) all[output.id].push_back(output.output);
    }
    EXPECT_FALSE(engine_->HasWork());
    return all;
  }

  static std::vector<uint32_t> Greedy(std::vector<uint32_t> history, uint32_t count) {
    std::vector<uint32_t> output;
    for (uint32_t i = 0; i < count; ++i) {
      const std::vector<float> logits = HashedLogits(history, kVocabSize);
      output.push_back(static_cast<uint32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin()));
      history.push_back(output.back());
    }
    return output;
  }

  FakeClock clock_;
  FakeRunner runner_{kVocabSize, kNumBlocks, kBlockSize};
  EngineOptions options_;
  std::unique_ptr<Engine> engine_;
};

TEST_F(EngineTest, GivesTokensWithTheirIndicesUntilMaxTokens) {
  ASSERT_TRUE(Submit(1, GreedySubmit({1, 2, 3}, 5)).ok());
  const auto outputs = Finish()[1];
  const std::vector<uint32_t> expected = Greedy({1, 2, 3}, 5);
  ASSERT_THAT(outputs, SizeIs(5));
  for (uint32_t i = 0; i < 5; ++i) {
    EXPECT_EQ(outputs[i].token_id(), expected[i]);
    EXPECT_EQ(outputs[i].index(), i);
    EXPECT_EQ(outputs[i].finish_reason(), i == 4 ? v1::FINISH_REASON_LENGTH : v1::FINISH_REASON_UNSPECIFIED);
    EXPECT_FALSE(outputs[i].is_stop_token());
    EXPECT_FALSE(outputs[i].has_logprob());
  }
  EXPECT_EQ(engine_->free_blocks(), kNumBlocks);
  EXPECT_EQ(engine_->stats().finished_requests, 1u);
  EXPECT_EQ(engine_->stats().prompt_tokens, 3u);
  EXPECT_EQ(engine_->stats().generated_tokens, 5u);
}

TEST_F(EngineTest, StopTokensEndTheRequest) {
  const std::vector<uint32_t> expected = Greedy({1, 2, 3}, 5);
  v1::Submit submit = GreedySubmit({1, 2, 3}, 20);
  submit.mutable_sampling()->add_stop_token_ids(expected[1]);
  ASSERT_TRUE(Submit(1, submit).ok());
  const auto outputs = Finish()[1];
  ASSERT_THAT(outputs, SizeIs(2));
  EXPECT_EQ(outputs[1].finish_reason(), v1::FINISH_REASON_STOP);
  EXPECT_EQ(outputs[1].token_id(), expected[1]);
  EXPECT_TRUE(outputs[1].is_stop_token());
}

TEST_F(EngineTest, EndOfSequenceEndsTheRequestUnlessIgnored) {
  const std::vector<uint32_t> expected = Greedy({1, 2, 3}, 5);
  Start({.eos_token_ids = {expected[1]}});
  ASSERT_TRUE(Submit(1, GreedySubmit({1, 2, 3}, 8)).ok());
  v1::Submit ignoring = GreedySubmit({1, 2, 3}, 8);
  ignoring.mutable_sampling()->set_ignore_eos(true);
  ASSERT_TRUE(Submit(2, ignoring).ok());
  auto outputs = Finish();
  EXPECT_THAT(outputs[1], SizeIs(2));
  EXPECT_EQ(outputs[1].back().finish_reason(), v1::FINISH_REASON_STOP);
  EXPECT_THAT(outputs[2], SizeIs(8));
  for (const v1::TokenOutput& output : outputs[2]) EXPECT_NE(output.token_id(), expected[1]);
}

TEST_F(EngineTest, TheModelsContextEndsTheRequest) {
  ASSERT_TRUE(Submit(1, GreedySubmit(CountingTokens(0, 40), 1000)).ok());
  const auto outputs = Finish()[1];
  EXPECT_THAT(outputs, SizeIs(24));
  EXPECT_EQ(outputs.back().finish_reason(), v1::FINISH_REASON_LENGTH);
}

TEST_F(EngineTest, AResumedRequestGoesOnExactly) {
  v1::Submit submit = GreedySubmit({1, 2, 3}, 12);
  submit.mutable_sampling()->set_temperature(1);
  submit.mutable_sampling()->set_seed(9);
  submit.mutable_sampling()->set_frequency_penalty(1);
  submit.mutable_sampling()->set_repetition_penalty(1.2f);
  ASSERT_TRUE(Submit(1, submit).ok());
  const auto whole = Finish()[1];
  ASSERT_THAT(whole, SizeIs(12));

  v1::Submit resumed = submit;
  for (int i = 0; i < 7; ++i) resumed.add_prompt_tokens(whole[i].token_id());
  resumed.set_generated_tokens(7);
  ASSERT_TRUE(Submit(2, resumed).ok());
  const auto rest = Finish()[2];
  ASSERT_THAT(rest, SizeIs(5));
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(rest[i].token_id(), whole[7 + i].token_id());
    EXPECT_EQ(rest[i].index(), 7u + i);
  }
  EXPECT_EQ(rest.back().finish_reason(), v1::FINISH_REASON_LENGTH);
}

TEST_F(EngineTest, ReportsCachedTokensAndQueueTimeOnce) {
  Start({.max_num_seqs = 1});
  const std::vector<uint32_t> prompt = CountingTokens(1, 10);
  ASSERT_TRUE(Submit(1, GreedySubmit(prompt, 2)).ok());
  ASSERT_TRUE(Submit(2, GreedySubmit(prompt, 2)).ok());
  clock_.Advance(absl::Milliseconds(3));
  const std::vector<EngineOutput> first = Step();
  ASSERT_THAT(first, SizeIs(1));
  EXPECT_EQ(first[0].output.cached_tokens(), 0u);
  EXPECT_EQ(first[0].output.queue_us(), 3000u);
  clock_.Advance(absl::Milliseconds(4));
  Step();
  clock_.Advance(absl::Milliseconds(5));
  const std::vector<EngineOutput> second = Step();
  ASSERT_THAT(second, SizeIs(1));
  EXPECT_EQ(second[0].id, 2u);
  EXPECT_EQ(second[0].output.cached_tokens(), 8u);
  EXPECT_EQ(second[0].output.queue_us(), 12000u);
  EXPECT_EQ(engine_->stats().prefix_hit_tokens, 8u);
  EXPECT_EQ(engine_->stats().prefix_lookup_tokens, 20u);
  const std::vector<EngineOutput> last = Step();
  EXPECT_EQ(last[0].output.cached_tokens(), 0u);
  EXPECT_EQ(last[0].output.queue_us(), 0u);
}

TEST_F(EngineTest, ManyStreamsWithOneSystemPromptComputeItOnce) {
  Start({.max_num_seqs = 32, .max_num_batched_tokens = 512});
  for (uint64_t id = 0; id < 32; ++id) {
    std::vector<uint32_t> prompt = CountingTokens(1, 20);
    prompt.push_back(static_cast<uint32_t>(id));
    ASSERT_TRUE(Submit(id, GreedySubmit(prompt, 1)).ok());
  }
  uint32_t prefill_tokens = 0;
  for (; engine_->HasWork(); prefill_tokens += engine_->last_step().prefill_tokens) Step();
  EXPECT_EQ(prefill_tokens, 21u + 31u);
}

// Routers compute the same hashes to find the group that holds a prompt.
TEST_F(EngineTest, TellsRoutersTheHashesOfItsBlocks) {
  v1::Submit submit = GreedySubmit(CountingTokens(1, 10), 1);
  submit.set_cache_salt("a tenant's salt");
  ASSERT_TRUE(Submit(1, submit).ok());
  Finish();
  const std::vector<BlockHash> expected = PromptBlockHashes("a tenant's salt", CountingTokens(1, 10), kBlockSize);
  EXPECT_THAT(engine_->AllBlockHashes(), ::testing::UnorderedElementsAreArray(expected));
  const v1::BlockEvents events = engine_->TakeBlockEvents();
  EXPECT_THAT(events.stored(), ::testing::UnorderedElementsAreArray(expected));
  EXPECT_EQ(events.evicted_size(), 0);
  EXPECT_EQ(engine_->TakeBlockEvents().stored_size(), 0);
}

double LogSoftmax(const std::vector<uint32_t>& history, uint32_t token) {
  const std::vector<float> logits = HashedLogits(history, kVocabSize);
  double sum = 0;
  for (float logit : logits) sum += std::exp(static_cast<double>(logit));
  return static_cast<double>(logits[token]) - std::log(sum);
}

TEST_F(EngineTest, LogprobsAreOfTheRawModel) {
  v1::Submit submit = GreedySubmit({1, 2, 3}, 4);
  submit.mutable_sampling()->set_top_logprobs(3);
  submit.mutable_sampling()->set_temperature(0.3f);
  (*submit.mutable_sampling()->mutable_logit_bias())[17] = 100;
  ASSERT_TRUE(Submit(1, submit).ok());
  std::vector<uint32_t> history = {1, 2, 3};
  const auto outputs = Finish()[1];
  ASSERT_THAT(outputs, SizeIs(4));
  for (const v1::TokenOutput& output : outputs) {
    EXPECT_EQ(output.token_id(), 17u);
    EXPECT_NEAR(static_cast<double>(output.logprob()), LogSoftmax(history, 17), 2e-6);
    ASSERT_EQ(output.top_logprobs_size(), 3);
    EXPECT_EQ(output.top_logprobs(0).token_id(), Greedy(history, 1)[0]);
    for (const v1::TokenLogprob& top : output.top_logprobs()) {
      EXPECT_NEAR(static_cast<double>(top.logprob()), LogSoftmax(history, top.token_id()), 2e-6);
    }
    history.push_back(17);
  }
}

TEST_F(EngineTest, PromptLogprobsComeWithTheFirstOutput) {
  Start({.max_num_seqs = 4, .max_num_batched_tokens = 4});  // in several chunks
  const std::vector<uint32_t> prompt = CountingTokens(1, 11);
  ASSERT_TRUE(Submit(1, GreedySubmit(prompt, 2)).ok());
  Finish();  // so that a prefix could be found
  v1::Submit submit = GreedySubmit(prompt, 2);
  submit.mutable_sampling()->set_prompt_logprobs(true);
  submit.mutable_sampling()->set_top_logprobs(1);
  ASSERT_TRUE(Submit(2, submit).ok());
  const auto outputs = Finish()[2];
  ASSERT_EQ(outputs[0].prompt_logprobs_size(), 10);
  EXPECT_EQ(outputs[1].prompt_logprobs_size(), 0);
  for (int i = 0; i < 10; ++i) {
    const std::vector<uint32_t> before(prompt.begin(), prompt.begin() + i + 1);
    EXPECT_NEAR(static_cast<double>(outputs[0].prompt_logprobs(i).logprob()), LogSoftmax(before, prompt[i + 1]), 2e-6);
    EXPECT_EQ(outputs[0].prompt_logprobs(i).top_logprobs(0).token_id(), Greedy(before, 1)[0]);
  }
}

TEST_F(EngineTest, CancelFreesBlocksAtOnce) {
  ASSERT_TRUE(Submit(1, GreedySubmit(CountingTokens(1, 10), 20)).ok());
  ASSERT_TRUE(Submit(2, GreedySubmit(CountingTokens(20, 10), 20)).ok());
  Step();
  EXPECT_EQ(engine_->free_blocks(), kNumBlocks - 6);
  EXPECT_EQ(engine_->Load().kv_blocks_used(), 6u);
  engine_->Cancel(1);
  EXPECT_EQ(engine_->free_blocks(), kNumBlocks - 3);
  engine_->Cancel(1);
  engine_->Cancel(99);
  for (const EngineOutput& output : Step()) EXPECT_EQ(output.id, 2u);
  EXPECT_EQ(engine_->stats().aborted_requests, 1u);
}

TEST_F(EngineTest, TimeoutsEndRunningAndWaitingRequests) {
  Start({.max_num_seqs = 1});
  v1::Submit submit = GreedySubmit({1, 2, 3}, 50);
  submit.set_timeout_ms(10);
  ASSERT_TRUE(Submit(1, submit).ok());
  ASSERT_TRUE(Submit(2, submit).ok());
  Step();
  clock_.Advance(absl::Milliseconds(9));
  EXPECT_THAT(Step(), SizeIs(1));
  clock_.Advance(absl::Milliseconds(1));
  const std::vector<EngineOutput> outputs = Step();
  ASSERT_THAT(outputs, SizeIs(2));
  for (const EngineOutput& output : outputs) {
    EXPECT_EQ(output.output.finish_reason(), v1::FINISH_REASON_ERROR);
    EXPECT_EQ(output.output.error_code(), 4u);
    EXPECT_THAT(output.output.error_message(), HasSubstr("10 ms"));
    EXPECT_FALSE(output.output.has_token_id());
  }
  EXPECT_EQ(outputs[0].output.index(), 2u);
  EXPECT_EQ(engine_->free_blocks(), kNumBlocks);
}

TEST_F(EngineTest, TheQueueIsBounded) {
  Start({.max_waiting = 2});
  ASSERT_TRUE(Submit(1, GreedySubmit({1, 2}, 2)).ok());
  ASSERT_TRUE(Submit(2, GreedySubmit({1, 2, 3}, 2)).ok());
  EXPECT_EQ(engine_->Load().waiting(), 2u);
  EXPECT_EQ(engine_->Load().waiting_prompt_tokens(), 5u);
  EXPECT_EQ(Submit(3, GreedySubmit({1}, 2)).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(Submit(2, GreedySubmit({1}, 2)).code(), absl::StatusCode::kInvalidArgument);
  Finish();
  EXPECT_TRUE(Submit(3, GreedySubmit({1}, 2)).ok());
}

TEST_F(EngineTest, ABrokenEpochEndsEveryRequestAndForgetsTheCache) {
  ASSERT_TRUE(Submit(1, GreedySubmit(CountingTokens(1, 10), 20)).ok());
  Step();
  EXPECT_THAT(engine_->AllBlockHashes(), SizeIs(2));
  runner_.fail_with = absl::UnavailableError("rank 1 is gone");
  std::vector<EngineOutput> outputs;
  bool worked = false;
  const absl::Status status = engine_->Step(&outputs, &worked);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(outputs, SizeIs(0));
  engine_->AbortAll(status, &outputs);
  ASSERT_THAT(outputs, SizeIs(1));
  EXPECT_EQ(outputs[0].output.finish_reason(), v1::FINISH_REASON_ERROR);
  EXPECT_EQ(outputs[0].output.error_code(), 14u);
  EXPECT_FALSE(engine_->HasWork());
  EXPECT_EQ(engine_->free_blocks(), kNumBlocks);
  EXPECT_THAT(engine_->AllBlockHashes(), SizeIs(0));
}

TEST_F(EngineTest, AMaskOfEverythingIsAnErrorNotAToken) {
  v1::Submit submit = GreedySubmit({1, 2}, 5);
  submit.mutable_sampling()->set_min_tokens(2);
  for (uint32_t token = 0; token < kVocabSize; ++token) submit.mutable_sampling()->add_stop_token_ids(token);
  ASSERT_TRUE(Submit(1, submit).ok());
  const auto outputs = Finish()[1];
  ASSERT_THAT(outputs, SizeIs(1));
  EXPECT_EQ(outputs[0].finish_reason(), v1::FINISH_REASON_ERROR);
  EXPECT_EQ(outputs[0].error_code(), 13u);
}

// A runner that takes 2 ms a token.
class SlowRunner : public FakeRunner {
 public:
  explicit SlowRunner(FakeClock* clock) : FakeRunner(kVocabSize, kNumBlocks, kBlockSize), clock_(clock) {}
  absl::Status Run(const StepBatch& batch, absl::Span<const float>* logits) override {
    clock_->Advance(absl::Milliseconds(2) * batch.num_tokens());
    return FakeRunner::Run(batch, logits);
  }

 private:
  FakeClock* const clock_;
};

TEST_F(EngineTest, ReportsTimesAndRates) {
  SlowRunner runner(&clock_);
  engine_ = Engine::Create(options_, &runner, &clock_).value();
  EXPECT_EQ(engine_->Load().prefill_tokens_per_second(), 0);
  ASSERT_TRUE(Submit(1, GreedySubmit(CountingTokens(1, 10), 20)).ok());
  Step();
  EXPECT_DOUBLE_EQ(engine_->last_step().run, 0.020);
  EXPECT_EQ(engine_->last_step().prefill_tokens, 10u);
  EXPECT_NEAR(engine_->Load().prefill_tokens_per_second(), 500, 0.01);
  Finish();
  EXPECT_EQ(engine_->last_step().decode_tokens, 1u);
  EXPECT_EQ(engine_->last_step().prefill_tokens, 0u);
  EXPECT_NEAR(engine_->Load().decode_tokens_per_second(), 500, 0.01);
  EXPECT_NEAR(engine_->Load().prefill_tokens_per_second(), 500, 0.01);
}

TEST_F(EngineTest, AStepBesideDecodesTakesNoLongerThanItsTarget) {
  SlowRunner slow(&clock_);
  options_.target_step = absl::Milliseconds(20);
  engine_ = Engine::Create(options_, &slow, &clock_).value();
  const std::vector<uint32_t> prompt = CountingTokens(10, 40);
  ASSERT_TRUE(Submit(1, GreedySubmit({1, 2, 3, 4}, 20)).ok());
  Step();
  ASSERT_TRUE(Submit(2, GreedySubmit(prompt, 3)).ok());
  for (int i = 0; i < 4; ++i) {
    Step();
    EXPECT_EQ(engine_->last_step().decode_tokens, 1u);
    EXPECT_GE(engine_->last_step().prefill_tokens, 8u);
    EXPECT_LE(engine_->last_step().prefill_tokens, 10u);
  }
  auto outputs = Finish();
  const std::vector<uint32_t> expected = Greedy(prompt, 3);  // the same as in one chunk
  ASSERT_THAT(outputs[2], SizeIs(3));
  for (uint32_t i = 0; i < 3; ++i) EXPECT_EQ(outputs[2][i].token_id(), expected[i]);
}

TEST_F(EngineTest, ATargetThatCannotBeMetStillGivesABlockAStep) {
  SlowRunner slow(&clock_);
  options_.target_step = absl::Microseconds(1);
  engine_ = Engine::Create(options_, &slow, &clock_).value();
  ASSERT_TRUE(Submit(1, GreedySubmit({1, 2, 3, 4}, 20)).ok());
  Step();
  ASSERT_TRUE(Submit(2, GreedySubmit(CountingTokens(10, 40), 3)).ok());
  Step();
  EXPECT_EQ(engine_->last_step().prefill_tokens, kBlockSize);
}

TEST_F(EngineTest, WithoutDecodesAStepIsAsLongAsTheBatchAllows) {
  SlowRunner slow(&clock_);
  options_.target_step = absl::Milliseconds(20);
  engine_ = Engine::Create(options_, &slow, &clock_).value();
  ASSERT_TRUE(Submit(1, GreedySubmit({1, 2, 3, 4}, 1)).ok());
  Step();
  ASSERT_TRUE(Submit(2, GreedySubmit(CountingTokens(10, 40), 3)).ok());
  Step();
  EXPECT_EQ(engine_->last_step().prefill_tokens, 40u);
}

TEST_F(EngineTest, StepWithoutWorkDoesNothing) {
  std::vector<EngineOutput> outputs;
  bool worked = true;
  ASSERT_TRUE(engine_->Step(&outputs, &worked).ok());
  EXPECT_FALSE(worked);
  EXPECT_EQ(runner_.num_steps, 0u);
}

TEST(EngineCreateTest, RefusesOptionsThatCannotWork) {
  FakeClock clock;
  FakeRunner runner(kVocabSize, kNumBlocks, kBlockSize);
  const EngineOptions good{.num_blocks = kNumBlocks, .block_size = kBlockSize};
  const auto code = [&](const EngineOptions& options) {
    return Engine::Create(options, &runner, &clock).status().code();
  };
  EXPECT_EQ(code(good), absl::StatusCode::kOk);
  std::vector<EngineOptions> bad(6, good);
  bad[0].num_blocks = 0;
  bad[1].block_size = 0;
  bad[2].max_model_len = 1;
  bad[3].max_num_seqs = 0;
  bad[4].max_num_batched_tokens = bad[4].max_num_seqs - 1;
  bad[5].eos_token_ids = {kVocabSize};
  bad.push_back(good);
  bad.back().speculation.method = SpeculationMethod::kSelfQuantized;  // without a draft
  bad.push_back(good);
  bad.back().speculation = {.method = SpeculationMethod::kNgram, .max_guesses = 0};
  for (const EngineOptions& options : bad) EXPECT_EQ(code(options), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace slmmesh
