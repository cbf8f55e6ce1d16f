// Speculation in an engine over fake models: how many guesses are made, by whom, and what becomes of them. That they
// change no token is held in simulation_test and speculation_test.
#include "worker/engine/speculator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "worker/engine/engine.h"
#include "worker/engine/fake_runner.h"
#include "worker/engine/testing_submit.h"

namespace slmmesh {
namespace {

using ::testing::SizeIs;

constexpr uint32_t kVocabSize = 50;
constexpr uint32_t kNumBlocks = 32;
constexpr uint32_t kBlockSize = 4;

class SpeculatorTest : public ::testing::Test {
 protected:
  void Speculate(SpeculationOptions speculation, EngineOptions options = {}) {
    speculation.adapts = false;
    options.speculation = speculation;
    options.num_blocks = kNumBlocks;
    options.block_size = kBlockSize;
    options.max_model_len = 64;
    options_ = options;
    engine_ = Engine::Create(options, &runner_, &clock_, &draft_).value();
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

  static std::vector<uint32_t> Prompt(uint32_t first, uint32_t count) {
    std::vector<uint32_t> tokens = CountingTokens(first, count);
    for (uint32_t& token : tokens) token %= kVocabSize;
    return tokens;
  }

  FakeClock clock_;
  FakeRunner runner_{kVocabSize, kNumBlocks, kBlockSize};
  FakeDraft draft_{kVocabSize, kNumBlocks, kBlockSize, 100};  // always right, with a cache of its own
  EngineOptions options_;
  std::unique_ptr<Engine> engine_;
};

TEST_F(SpeculatorTest, AStepGivesItsGuessesAndOneMore) {
  Speculate({.method = SpeculationMethod::kDraft, .max_guesses = 3});
  ASSERT_TRUE(Submit(1, GreedySubmit({1, 2, 3}, 9)).ok());
  EXPECT_THAT(Step(), SizeIs(1));
  for (const size_t given : {4, 4}) {
    const std::vector<EngineOutput> outputs = Step();
    ASSERT_THAT(outputs, SizeIs(given));
    for (size_t i = 1; i < given; ++i) EXPECT_EQ(outputs[i].output.index(), outputs[i - 1].output.index() + 1);
    EXPECT_EQ(engine_->last_step().decode_tokens, given);
  }
  EXPECT_FALSE(engine_->HasWork()) << "1 + 4 + 4";
  const SpeculationStats& stats = engine_->stats().speculation;
  EXPECT_EQ(stats.verifications, 2u);
  EXPECT_EQ(stats.guessed, 6u);
  EXPECT_EQ(stats.accepted, 6u);
  EXPECT_EQ(stats.emitted, 8u);
  EXPECT_EQ(engine_->free_blocks(), kNumBlocks);
}

TEST_F(SpeculatorTest, NothingIsGuessedBeyondTheAnswersEnd) {
  Speculate({.method = SpeculationMethod::kDraft, .max_guesses = 8});
  ASSERT_TRUE(Submit(1, GreedySubmit({1, 2, 3}, 4)).ok());
  ASSERT_TRUE(Submit(2, GreedySubmit(Prompt(0, 62), 50)).ok());
  const auto outputs = Finish();
  EXPECT_THAT(outputs.at(1), SizeIs(4));
  EXPECT_THAT(outputs.at(2), SizeIs(2));
  EXPECT_EQ(engine_->stats().speculation.guessed, 2u);
}

TEST_F(SpeculatorTest, AStopInAStepEndsTheRequestThere) {
  const std::vector<uint32_t> expected = Greedy({1, 2, 4}, 5);
  ASSERT_EQ(std::count(expected.begin(), expected.begin() + 2, expected[2]), 0);
  Speculate({.method = SpeculationMethod::kDraft, .max_guesses = 8});
  v1::Submit submit = GreedySubmit({1, 2, 4}, 20);
  submit.mutable_sampling()->add_stop_token_ids(expected[2]);
  ASSERT_TRUE(Submit(1, submit).ok());
  const auto outputs = Finish()[1];
  ASSERT_THAT(outputs, SizeIs(3));
  EXPECT_TRUE(outputs[2].is_stop_token());
  EXPECT_EQ(engine_->free_blocks(), kNumBlocks);
}

TEST_F(SpeculatorTest, ADraftCatchesUpInSeveralSteps) {
  Speculate({.method = SpeculationMethod::kDraft, .max_guesses = 2}, {.max_num_seqs = 4, .max_num_batched_tokens = 8});
  ASSERT_TRUE(Submit(1, GreedySubmit(CountingTokens(0, 24), 30)).ok());
  for (int step = 0; step < 3; ++step) Step();  // the prompt
  for (int step = 0; step < 2; ++step) {
    EXPECT_THAT(Step(), SizeIs(1));
    EXPECT_LE(draft_.last_batch.num_tokens(), 9);
  }
  EXPECT_THAT(Step(), SizeIs(3)) << "nine tokens a step were caught up with";
}

TEST_F(SpeculatorTest, ADraftFindsWhatItComputedForAnother) {
  Speculate({.method = SpeculationMethod::kDraft, .max_guesses = 2});
  const std::vector<uint32_t> prompt = CountingTokens(0, 24);
  ASSERT_TRUE(Submit(1, GreedySubmit(prompt, 4)).ok());
  Finish();
  ASSERT_TRUE(Submit(2, GreedySubmit(prompt, 4)).ok());
  Step();
  draft_.on_run = [](const StepBatch& batch) { EXPECT_LE(batch.num_tokens(), 5); };  // 20 were shared
  EXPECT_THAT(Finish()[2], SizeIs(3));
  EXPECT_EQ(engine_->stats().speculation.accepted, engine_->stats().speculation.guessed);
}

TEST_F(SpeculatorTest, TwoThatCatchUpWithOneBlockWriteItOnce) {
  Speculate({.method = SpeculationMethod::kDraft, .max_guesses = 2});
  for (uint64_t id = 1; id <= 3; ++id) {
    std::vector<uint32_t> prompt = CountingTokens(0, 24);
    prompt.push_back(static_cast<uint32_t>(id));
    ASSERT_TRUE(Submit(id, GreedySubmit(prompt, 12)).ok());
  }
  const auto outputs = Finish();  // the draft refuses a batch that writes a slot twice
  for (uint64_t id = 1; id <= 3; ++id) EXPECT_THAT(outputs.at(id), SizeIs(12));
  EXPECT_EQ(engine_->stats().speculation.accepted, engine_->stats().speculation.guessed);
}

TEST_F(SpeculatorTest, GuessesNeverPreempt) {
  Speculate({.method = SpeculationMethod::kDraft, .max_guesses = 8});
  // 6 + 12 + 13 blocks: one is free, and none when the first has grown.
  ASSERT_TRUE(Submit(1, GreedySubmit(Prompt(0, 21), 4)).ok());
  ASSERT_TRUE(Submit(2, GreedySubmit(Prompt(1, 45), 4)).ok());
  ASSERT_TRUE(Submit(3, GreedySubmit(Prompt(2, 49), 4)).ok());
  Finish();
  EXPECT_EQ(engine_->stats().preemptions, 0u);
}

TEST_F(SpeculatorTest, BlocksOfWrongGuessesAreGivenBack) {
  FakeDraft wrong(kVocabSize, kNumBlocks, kBlockSize, 0);
  Speculate({.method = SpeculationMethod::kDraft, .max_guesses = 8});
  engine_ = Engine::Create(options_, &runner_, &clock_, &wrong).value();
  ASSERT_TRUE(Submit(1, GreedySubmit({1, 2, 3}, 20)).ok());
  for (uint32_t num_tokens = 4; num_tokens < 10; ++num_tokens) {
    EXPECT_THAT(Step(), SizeIs(1));
    EXPECT_EQ(engine_->Load().kv_blocks_used(), (num_tokens + kBlockSize - 1) / kBlockSize);
  }
  const SpeculationStats& stats = engine_->stats().speculation;
  EXPECT_EQ(stats.judged, stats.verifications) << "what follows a wrong guess is not judged";
  EXPECT_GT(stats.guessed, 2 * stats.judged);
}

// Half its guesses are wrong, and it is not sure of those.
class HonestDraft : public FakeDraft {
 public:
  HonestDraft() : FakeDraft(kVocabSize, kNumBlocks, kBlockSize, 50) {}

 protected:
  std::vector<float> LogitsAfter(const std::vector<uint32_t>& marks) const override {
    std::vector<uint32_t> history = marks;
    for (uint32_t& token : history) token &= 0x7fffffff;
    std::vector<float> logits = FakeDraft::LogitsAfter(marks);
    const auto largest = std::max_element(logits.begin(), logits.end());
    const float lead = logits == HashedLogits(history, kVocabSize) ? 10.0f : 0.01f;
    for (float& logit : logits) logit = std::min(logit, *largest - 1);
    *largest = *largest - 1 + lead;
    return logits;
  }
};

TEST_F(SpeculatorTest, AModelStopsWhereItIsNotSure) {
  HonestDraft draft;
  draft.on_run = [this](const StepBatch&) { clock_.Advance(absl::Milliseconds(2)); };
  runner_.on_run = [this](const StepBatch&) { clock_.Advance(absl::Milliseconds(10)); };
  EngineOptions options{.num_blocks = kNumBlocks, .block_size = kBlockSize, .max_model_len = 64};
  options.speculation = {.method = SpeculationMethod::kDraft};
  const auto guessed_behind_wrong_ones = [&](bool adapts, uint32_t* longest) {
    options.speculation.adapts = adapts;
    engine_ = Engine::Create(options, &runner_, &clock_, &draft).value();
    for (uint64_t id = 1; id <= 12; ++id) {
      EXPECT_TRUE(Submit(id, GreedySubmit(Prompt(static_cast<uint32_t>(id), 3), 50)).ok());
      while (engine_->HasWork()) *longest = std::max(*longest, static_cast<uint32_t>(Step().size()));
    }
    const SpeculationStats& stats = engine_->stats().speculation;
    EXPECT_GT(stats.accepted, 100u);
    return static_cast<double>(stats.guessed - stats.judged) / static_cast<double>(stats.guessed);
  };
  uint32_t longest = 0;
  EXPECT_LT(guessed_behind_wrong_ones(true, &longest), 0.15);
  EXPECT_EQ(longest, 6u) << "while it is sure it goes on";
  EXPECT_GT(guessed_behind_wrong_ones(false, &longest), 0.5);
}

class AdaptingSpeculatorTest : public SpeculatorTest {
 protected:
  // Answers so many requests of 50 tokens with a draft that is right in half of its guesses, however sure it is.
  const SpeculationStats& Answer(uint64_t requests, absl::Duration of_draft) {
    if (engine_ == nullptr) {
      draft_half_.on_run = [this, of_draft](const StepBatch&) { clock_.Advance(of_draft); };
      runner_.on_run = [this](const StepBatch&) { clock_.Advance(absl::Milliseconds(10)); };
      EngineOptions options{.num_blocks = kNumBlocks, .block_size = kBlockSize, .max_model_len = 64};
      options.speculation = {.method = SpeculationMethod::kDraft};
      engine_ = Engine::Create(options, &runner_, &clock_, &draft_half_).value();
    }
    for (uint64_t i = 0; i < requests; ++i, ++id_) {
      EXPECT_TRUE(Submit(id_, GreedySubmit(Prompt(static_cast<uint32_t>(id_), 3), 50)).ok());
      Finish();
    }
    return engine_->stats().speculation;
  }

  FakeDraft draft_half_{kVocabSize, kNumBlocks, kBlockSize, 50};
  uint64_t id_ = 1;
};

TEST_F(AdaptingSpeculatorTest, DoubtsAddUp) {
  const SpeculationStats& stats = Answer(20, absl::Microseconds(500));
  const double guesses = static_cast<double>(stats.guessed) / static_cast<double>(stats.verifications);
  EXPECT_GT(guesses, 2);
  EXPECT_LT(guesses, 3.8) << "the fourth is right in one case of sixteen";
}

TEST_F(AdaptingSpeculatorTest, WhatDoesNotPayIsTriedNowAndThen) {
  const uint64_t before = Answer(4, absl::Milliseconds(30)).guessed;
  const uint64_t tries = Answer(30, absl::Milliseconds(30)).guessed - before;
  EXPECT_GE(tries, 2u);
  EXPECT_LE(tries, 20u);
}

TEST_F(SpeculatorTest, AnErrorOfTheDraftEndsTheEpoch) {
  Speculate({.method = SpeculationMethod::kDraft});
  ASSERT_TRUE(Submit(1, GreedySubmit({1, 2, 3}, 9)).ok());
  Step();
  draft_.fail_with = absl::UnavailableError("rank 1 is gone");
  std::vector<EngineOutput> outputs;
  bool worked = false;
  EXPECT_EQ(engine_->Step(&outputs, &worked).code(), absl::StatusCode::kUnavailable);
  engine_->AbortAll(absl::UnavailableError("over"), &outputs);
  EXPECT_EQ(engine_->free_blocks(), kNumBlocks);
}

// The share of each answer among many seeds is what the model says, whatever is guessed: chi-squared at fixed seeds.
TEST(EngineRejectionTest, AnswersAreDistributedAsTheModelSays) {
  constexpr uint32_t kTokens = 4, kSeeds = 12'000;
  const std::vector<uint32_t> prompt = {1, 2};
  const auto probability = [](const std::vector<uint32_t>& history, uint32_t token) {
    const std::vector<float> logits = HashedLogits(history, kTokens);
    double sum = 0;
    for (float logit : logits) sum += std::exp(static_cast<double>(logit) / 2);
    return std::exp(static_cast<double>(logits[token]) / 2) / sum;
  };
  for (const auto method : {SpeculationMethod::kDraft, SpeculationMethod::kNgram}) {
    FakeClock clock;
    FakeRunner runner(kTokens, kNumBlocks, kBlockSize);
    FakeDraft draft(kTokens, kNumBlocks, kBlockSize, 50);
    EngineOptions options{.num_blocks = kNumBlocks, .block_size = kBlockSize, .max_model_len = 64, .max_num_seqs = 8};
    options.speculation = {.method = method, .rule = AcceptanceRule::kRejection, .max_guesses = 2, .adapts = false};
    const auto engine = Engine::Create(options, &runner, &clock, &draft).value();
    std::map<uint64_t, std::vector<uint32_t>> answers;
    for (uint64_t seed = 0; seed < kSeeds || engine->HasWork(); ++seed) {
      v1::Submit submit = GreedySubmit(prompt, 4);
      submit.mutable_sampling()->set_temperature(2);
      submit.mutable_sampling()->set_seed(seed);
      if (seed < kSeeds) {
        ASSERT_TRUE(engine->Submit({seed, submit}).ok());
      }
      std::vector<EngineOutput> outputs;
      bool worked = false;
      ASSERT_TRUE(engine->Step(&outputs, &worked).ok());
      for (const EngineOutput& output : outputs) answers[output.id].push_back(output.output.token_id());
    }
    std::map<std::vector<uint32_t>, double> counts;
    for (const auto& [id, answer] : answers) counts[answer] += 1;
    double chi_squared = 0;
    for (uint32_t code = 0; code < 256; ++code) {
      std::vector<uint32_t> history = prompt, answer;
      double expected = kSeeds;
      for (uint32_t i = 0; i < 4; ++i) {
        answer.push_back(code >> (2 * i) & 3);
        expected *= probability(history, answer.back());
        history.push_back(answer.back());
      }
      chi_squared += (counts[answer] - expected) * (counts[answer] - expected) / expected;
    }
    EXPECT_LT(chi_squared, 370) << "255 degrees of freedom: less but once in a million";
    EXPECT_GT(engine->stats().speculation.accepted, 100u);
    EXPECT_LT(engine->stats().speculation.accepted, engine->stats().speculation.guessed);
  }
}

}  // namespace
}  // namespace slmmesh
