#include "worker/server/modelled_guesses.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "common/clock.h"
#include "common/temporary_folder.h"
#include "worker/engine/engine.h"
#include "worker/engine/fake_runner.h"
#include "worker/engine/testing_submit.h"

namespace slmmesh {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

// As gtest compares and prints them.
std::vector<std::pair<float, bool>> Pairs(const std::vector<JudgedGuess>& guesses) {
  std::vector<std::pair<float, bool>> pairs;
  for (const JudgedGuess& guess : guesses) pairs.emplace_back(guess.lead, guess.is_right);
  return pairs;
}

uint32_t Likeliest(absl::Span<const float> row) {
  return static_cast<uint32_t>(std::max_element(row.begin(), row.end()) - row.begin());
}

// By how much the likeliest leads.
float Lead(absl::Span<const float> row) {
  std::vector<float> sorted(row.begin(), row.end());
  std::sort(sorted.begin(), sorted.end(), std::greater<>());
  return sorted[0] - sorted[1];
}

TEST(JudgedGuessesFileTest, IsReadAsItWasWritten) {
  const TemporaryFolder folder;
  const std::vector<JudgedGuess> guesses = {{0.0f, false}, {1.25f, true}, {1e-6f, false}, {31.5f, true}};
  ASSERT_TRUE(WriteJudgedGuesses(folder / "guesses", guesses).ok());
  const auto read = ReadJudgedGuesses(folder / "guesses");
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(Pairs(*read), Pairs(guesses));
}

TEST(JudgedGuessesFileTest, WhatIsNoGuessIsNamedByItsLine) {
  const TemporaryFolder folder;
  const auto error = [&](const std::string& text) {
    const auto read = ReadJudgedGuesses(folder.Write("guesses", text));
    EXPECT_EQ(read.status().code(), absl::StatusCode::kInvalidArgument) << text;
    return std::string(read.status().message());
  };
  for (const char* second : {"x 1", "0.5 2", "0.5", "0.5 ", "0.5 1 1", "nan 1", "-0.5 1", "", "0.5,1"}) {
    for (const char* rest : {"\n", "\n0.5 1\n"}) {
      EXPECT_THAT(error(std::string("0.5 1\n") + second + rest),
                  HasSubstr("guesses: line 2: expected a lead and 0 or 1"))
          << second;
    }
  }
  EXPECT_THAT(error("0.5 1\n0.5"), HasSubstr("line 2")) << "cut off";
  EXPECT_THAT(error(""), HasSubstr("guesses: there is no guess in it"));
}

TEST(JudgedGuessesFileTest, FilesThatCannotBeOpenedAreNamed) {
  const TemporaryFolder folder;
  const std::string path = folder / "no/such";
  EXPECT_EQ(ReadJudgedGuesses(path).status(), absl::InvalidArgumentError(path + ": cannot be read"));
  EXPECT_EQ(WriteJudgedGuesses(path, {{1, true}}), absl::UnavailableError(path + ": cannot be written"));
}

constexpr uint32_t kVocabSize = 16;

// Random logits, a row for each that is asked for.
class RandomRunner : public ModelRunner {
 public:
  explicit RandomRunner(uint32_t seed) : random_(seed) {}
  uint32_t vocab_size() const override { return kVocabSize; }
  absl::Status Run(const StepBatch& batch, absl::Span<const float>* logits) override {
    if (!fail_with.ok()) return fail_with;
    said.resize(batch.logit_rows.size() * kVocabSize);
    std::normal_distribution<float> normal;
    for (float& logit : said) logit = normal(random_);
    *logits = said;
    return absl::OkStatus();
  }

  absl::Status fail_with;
  std::vector<float> said;  // at last

 private:
  std::mt19937 random_;
};

// A draft that guesses and a target that judges, as an engine at temperature 0 runs them.
class ModelledGuessesTest : public ::testing::Test {
 protected:
  void Replay(std::vector<JudgedGuess> guesses) { guesses_ = GuessModel(std::move(guesses)); }

  // The draft's row.
  std::vector<float> Guess() {
    absl::Span<const float> logits;
    StepBatch batch;
    batch.tokens = {0};
    batch.logit_rows = {0};
    EXPECT_TRUE(draft_.Run(batch, &logits).ok());
    return {logits.begin(), logits.end()};
  }

  // The target's rows after the last token and each guess.
  std::vector<std::vector<float>> Judge(const std::vector<uint32_t>& guesses) {
    StepBatch batch;
    batch.tokens = {0};
    batch.tokens.insert(batch.tokens.end(), guesses.begin(), guesses.end());
    for (uint32_t i = 0; i < batch.tokens.size(); ++i) batch.logit_rows.push_back(i);
    absl::Span<const float> logits;
    EXPECT_TRUE(target_.Run(batch, &logits).ok());
    std::vector<std::vector<float>> rows;
    for (size_t i = 0; i < batch.tokens.size(); ++i) {
      const auto row = logits.subspan(i * kVocabSize, kVocabSize);
      rows.emplace_back(row.begin(), row.end());
    }
    return rows;
  }

  static constexpr uint32_t kSeed = 7;
  const ::testing::ScopedTrace trace_{__FILE__, __LINE__, "seed " + std::to_string(kSeed)};
  RandomRunner inner_draft_{kSeed}, inner_target_{kSeed + 1};
  GuessModel guesses_;
  ModelledDraft draft_{&inner_draft_, &guesses_};
  ModelledTarget target_{&inner_target_, &guesses_};
};

TEST_F(ModelledGuessesTest, RecordsLeadsAndWhetherTheTargetAgrees) {
  std::vector<JudgedGuess> expected;
  for (int step = 0; step < 200; ++step) {
    std::vector<uint32_t> guesses;
    std::vector<float> leads;
    for (int i = 0; i < 3; ++i) {
      const std::vector<float> row = Guess();
      EXPECT_EQ(Likeliest(row), Likeliest(inner_draft_.said));
      EXPECT_NEAR(Lead(row), Lead(inner_draft_.said), 1e-5);
      leads.push_back(Lead(inner_draft_.said));
      guesses.push_back(Likeliest(row));
    }
    const auto rows = Judge(guesses);
    for (size_t i = 0; i < rows.size(); ++i) {
      EXPECT_THAT(absl::MakeConstSpan(inner_target_.said).subspan(i * kVocabSize, kVocabSize), rows[i]) << "unchanged";
    }
    for (size_t i = 0; i < guesses.size(); ++i) {
      expected.push_back({leads[i], Likeliest(rows[i]) == guesses[i]});
      if (!expected.back().is_right) break;  // those after it are of another text
    }
  }
  EXPECT_EQ(Pairs(guesses_.recorded()), Pairs(expected));
  EXPECT_GT(expected.size(), 200u) << "some were right";
}

TEST_F(ModelledGuessesTest, ReplayedGuessesAreRightAtTheRateOfTheirLead) {
  const std::map<float, int> right_of_ten = {{0.25f, 3}, {1.0f, 6}, {4.0f, 10}, {16.0f, 0}};
  std::vector<JudgedGuess> recorded;
  for (const auto& [lead, right] : right_of_ten) {
    for (int i = 0; i < 10; ++i) recorded.push_back({lead, i < right});
  }
  Replay(recorded);
  struct Count {
    int all = 0, right = 0;
  };
  std::map<float, Count> counts;
  constexpr int kSteps = 2000, kGuesses = 4;
  for (int step = 0; step < kSteps; ++step) {
    std::vector<uint32_t> guesses;
    std::vector<float> leads;
    for (int i = 0; i < kGuesses; ++i) {
      const std::vector<float> row = Guess();
      guesses.push_back(Likeliest(row));
      leads.push_back(std::round(Lead(row) * 64) / 64);  // what rounding made of it
      EXPECT_EQ(guesses.back(), Likeliest(inner_draft_.said)) << "the draft's own guess";
    }
    const auto rows = Judge(guesses);
    for (int i = 0; i < kGuesses; ++i) {
      Count& count = counts[leads[i]];
      ++count.all;
      count.right += Likeliest(rows[i]) == guesses[i] ? 1 : 0;
    }
    const auto last = absl::MakeConstSpan(inner_target_.said).subspan(kGuesses * kVocabSize);
    EXPECT_THAT(last, rows[kGuesses]) << "after the last guess the target's own word";
  }
  ASSERT_THAT(counts, SizeIs(right_of_ten.size()));
  for (const auto& [lead, right] : right_of_ten) {
    const Count& count = counts.at(lead);
    const double all = count.all, expected = right / 10.0;
    // 4 standard deviations; all or none are exactly that.
    EXPECT_NEAR(all, kSteps * kGuesses / 4.0, 4 * std::sqrt(kSteps * kGuesses * 0.25 * 0.75)) << lead;
    EXPECT_NEAR(count.right / all, expected, 4 * std::sqrt(expected * (1 - expected) / all)) << lead;
  }
}

TEST_F(ModelledGuessesTest, GuessesBelongToTheirStepAlone) {
  Replay({{1, false}});
  const std::vector<float> row = Guess();
  Guess();
  Guess();
  const uint32_t guess = Likeliest(row);
  EXPECT_NE(Likeliest(Judge({guess})[0]), guess) << "the target was not asked about two of them";
  const auto rows = Judge({1, 2});  // nothing was guessed since
  EXPECT_THAT(absl::MakeConstSpan(inner_target_.said).subspan(0, kVocabSize), rows[0]);
}

TEST_F(ModelledGuessesTest, AModelThatFailsFails) {
  inner_draft_.fail_with = absl::UnavailableError("draft");
  inner_target_.fail_with = absl::UnavailableError("target");
  absl::Span<const float> logits;
  EXPECT_EQ(draft_.Run({}, &logits), inner_draft_.fail_with);
  EXPECT_EQ(target_.Run({}, &logits), inner_target_.fail_with);
  EXPECT_TRUE(guesses_.recorded().empty());
}

// In an engine, whose draft is right of about half of the histories.
class GuessesInAnEngineTest : public ::testing::Test {
 protected:
  SpeculationStats Answer(GuessModel* guesses) {
    FakeRunner target(kVocabSize, kNumBlocks, kBlockSize);
    FakeDraft draft(kVocabSize, kNumBlocks, kBlockSize, 50);
    ModelledTarget modelled_target(&target, guesses);
    ModelledDraft modelled_draft(&draft, guesses);
    EngineOptions options;
    options.speculation = {.method = SpeculationMethod::kDraft, .max_guesses = 3, .adapts = false};
    options.num_blocks = kNumBlocks;
    options.block_size = kBlockSize;
    options.max_model_len = kTokens + 4;
    FakeClock clock;
    const auto engine = Engine::Create(options, &modelled_target, &clock, &modelled_draft).value();
    EXPECT_TRUE(engine->Submit({1, GreedySubmit({1, 2, 3}, kTokens)}).ok());
    for (uint32_t step = 0; engine->HasWork() && step < 2 * kTokens; ++step) {
      std::vector<EngineOutput> outputs;
      bool worked = false;
      EXPECT_TRUE(engine->Step(&outputs, &worked).ok());
    }
    return engine->stats().speculation;
  }

  static constexpr uint32_t kTokens = 200, kNumBlocks = 64, kBlockSize = 4;
};

TEST_F(GuessesInAnEngineTest, WhatIsRecordedIsWhatTheEngineJudged) {
  GuessModel recording;
  const SpeculationStats stats = Answer(&recording);
  const auto& recorded = recording.recorded();
  EXPECT_EQ(recorded.size(), stats.judged);
  EXPECT_EQ(std::count_if(recorded.begin(), recorded.end(), [](const JudgedGuess& guess) { return guess.is_right; }),
            static_cast<int64_t>(stats.accepted));
  EXPECT_GT(stats.accepted, 0u);
  EXPECT_LT(stats.accepted, stats.judged);
}

TEST_F(GuessesInAnEngineTest, AcceptsWhatIsReplayedAsRight) {
  GuessModel right({{1, true}}), wrong({{1, false}});
  const SpeculationStats all = Answer(&right), none = Answer(&wrong);
  EXPECT_GT(all.guessed, kTokens / 2);
  EXPECT_EQ(all.accepted, all.guessed);
  EXPECT_GT(none.guessed, kTokens);
  EXPECT_EQ(none.accepted, 0u);
}

}  // namespace
}  // namespace slmmesh
