#include "worker/engine/depth_policy.h"

#include <gtest/gtest.h>

#include <limits>
#include <random>
#include <vector>

namespace slmmesh {
namespace {

constexpr uint32_t kMaxDepth = 5;

// A machine and a text, and an engine that decodes on it as the policy says.
struct World {
  double draft = 0;                         // seconds of a guess
  double verify = 1, verify_per_token = 0;  // of a run of the target
  double acceptance = 0;

  double Verify(uint32_t tokens) const { return verify + verify_per_token * tokens; }
  // What never guessing, or always guessing so many, gives.
  double TokensPerSecond(uint32_t depth) const {
    double expected = 1, all_right = acceptance;
    for (uint32_t i = 0; i < depth; ++i, all_right *= acceptance) expected += all_right;
    return expected / (depth * draft + Verify(depth + 1));
  }
};

class DepthPolicyTest : public testing::Test {
 protected:
  // Tokens a second over `steps` steps of one stream.
  double Run(const World& world, int steps) {
    double seconds = 0;
    uint64_t tokens = 0;
    for (int step = 0; step < steps; ++step) {
      policy_.BeginStep(1);
      uint32_t depth = policy_.Choose(stream_);
      depth += policy_.TakeTrial(depth) ? 1 : 0;
      uint32_t accepted = 0;
      while (accepted < depth && right_(random_) < world.acceptance) ++accepted;
      for (uint32_t i = 0; i < depth && world.draft > 0; ++i) policy_.NoteDraft(1, world.draft);
      policy_.NoteVerification(depth + 1, false, world.Verify(depth + 1));
      if (depth > 0) policy_.NoteVerified(depth, accepted, {}, &stream_);
      const double step_seconds = depth * world.draft + world.Verify(depth + 1);
      policy_.NoteStep(step_seconds, depth * world.draft);
      seconds += step_seconds;
      tokens += accepted + 1;
    }
    return static_cast<double>(tokens) / seconds;
  }

  uint32_t Best() {
    policy_.BeginStep(1);
    return policy_.Choose(stream_);
  }

  DepthPolicy policy_{kMaxDepth};
  Acceptance stream_;
  std::mt19937 random_{3};
  std::uniform_real_distribution<double> right_{0, 1};
};

TEST_F(DepthPolicyTest, GuessesAllItMayBeforeAnythingIsKnown) { EXPECT_EQ(Best(), kMaxDepth); }

TEST_F(DepthPolicyTest, GoodGuessesAreMadeInFull) {
  const World world{.draft = 0.2, .acceptance = 0.95};
  EXPECT_GT(Run(world, 2000), 0.97 * world.TokensPerSecond(kMaxDepth));
  EXPECT_EQ(Best(), kMaxDepth);
}

TEST_F(DepthPolicyTest, FreeGuessesThatAreWrongCostOnlyTheirVerification) {
  const World world{.verify_per_token = 0.05, .acceptance = 0};
  EXPECT_GT(Run(world, 2000), 0.97 * world.TokensPerSecond(0));
  EXPECT_EQ(Best(), 0u);
}

TEST_F(DepthPolicyTest, NeverMuchSlowerThanNoGuesses) {
  for (const double draft : {0.05, 0.5, 1.0, 3.0}) {
    for (const double per_token : {0.0, 0.3, 1.0}) {
      for (const double acceptance : {0.0, 0.3, 0.6, 0.9}) {
        policy_ = DepthPolicy(kMaxDepth);
        stream_ = Acceptance();
        const World world{.draft = draft, .verify_per_token = per_token, .acceptance = acceptance};
        EXPECT_GT(Run(world, 3000), 0.97 * world.TokensPerSecond(0))
            << draft << " a guess, " << per_token << " a token, " << acceptance << " right";
      }
    }
  }
}

TEST_F(DepthPolicyTest, NearlyAsGoodAsTheBestDepth) {
  for (const double draft : {0.1, 0.3, 0.6}) {
    for (const double acceptance : {0.5, 0.7, 0.9}) {
      policy_ = DepthPolicy(kMaxDepth);
      stream_ = Acceptance();
      const World world{.draft = draft, .verify_per_token = 0.05, .acceptance = acceptance};
      double best = 0;
      for (uint32_t depth = 0; depth <= kMaxDepth; ++depth) best = std::max(best, world.TokensPerSecond(depth));
      EXPECT_GT(Run(world, 5000), 0.9 * best) << draft << " a guess, " << acceptance << " right";
    }
  }
}

TEST_F(DepthPolicyTest, FindsOutWhenGuessesBecomeRight) {
  World world{.draft = 0.2, .acceptance = 0};
  Run(world, 2000);
  EXPECT_EQ(Best(), 0u);
  world.acceptance = 0.95;
  Run(world, 3000);
  EXPECT_GE(Best(), kMaxDepth - 1);
}

TEST_F(DepthPolicyTest, FindsOutWhenTheMachineIsBusy) {
  World world{.draft = 0.2, .acceptance = 0.8};
  Run(world, 1000);
  EXPECT_GE(Best(), 3u);
  world.verify_per_token = 3;  // tokens are no longer read for free
  Run(world, 2000);
  EXPECT_EQ(Best(), 0u);
}

TEST_F(DepthPolicyTest, WhatNoGuessesTakeIsMeasuredNowAndThen) {
  const World world{.draft = 0.2, .acceptance = 0.95};
  std::vector<int> plain_steps;
  for (int step = 0; step < 1000; ++step) {
    policy_.BeginStep(1);
    const uint32_t depth = policy_.Choose(stream_);
    if (depth == 0) {
      plain_steps.push_back(step);
      for (int i = 0; i < 100; ++i) EXPECT_FALSE(policy_.TakeTrial(0)) << "it would have guesses then";
    }
    for (uint32_t i = 0; i < depth; ++i) policy_.NoteDraft(1, world.draft);
    policy_.NoteVerification(depth + 1, false, world.Verify(depth + 1));
    policy_.NoteVerified(depth, depth, {}, &stream_);
    policy_.NoteStep(1, 0.5);
  }
  ASSERT_GE(plain_steps.size(), 9u);
  EXPECT_LE(plain_steps.size(), 12u);
  EXPECT_LT(plain_steps.front(), 20) << "early: until then it is only hoped";
}

TEST_F(DepthPolicyTest, ADraftThatHasMuchToCatchUpWithIsTriedRarely) {
  Run({.draft = 0.5, .acceptance = 0}, 1000);
  double seconds = 0, draft_seconds = 0;
  for (int step = 0; step < 20'000; ++step) {
    policy_.BeginStep(1);
    const bool is_trial = policy_.TakeTrial(policy_.Choose(stream_));
    policy_.NoteStep(is_trial ? 11 : 1, is_trial ? 10 : 0);
    seconds += is_trial ? 11 : 1;
    draft_seconds += is_trial ? 10 : 0;
  }
  EXPECT_GT(draft_seconds, 0);
  EXPECT_LT(draft_seconds, 0.02 * seconds);
}

TEST_F(DepthPolicyTest, PromptsInAStepMakeGuessesCheaper) {
  Run({.draft = 0.7, .acceptance = 0.6}, 1000);
  EXPECT_EQ(Best(), 0u);
  policy_.NoteVerification(1, true, 30);
  EXPECT_GE(Best(), 2u) << "the step is long anyway";
  policy_.NoteVerification(1, false, 1);
  EXPECT_EQ(Best(), 0u);
}

TEST_F(DepthPolicyTest, WhereEveryStepHasPromptsGuessesAreWeighedToo) {
  for (int step = 0; step < 50; ++step) {
    policy_.NoteDraft(1, 10);
    policy_.NoteVerification(2, true, 5);
    policy_.NoteVerified(1, 0, {}, &stream_);
  }
  EXPECT_EQ(Best(), 0u);
}

TEST_F(DepthPolicyTest, ANewStreamIsBelievedToBeLikeTheOthers) {
  Run({.draft = 0.5, .acceptance = 0}, 500);
  stream_ = Acceptance();
  EXPECT_EQ(Best(), 0u);
}

// What one more guess is worth falls with the chance that it is reached, and with what its verification takes.
TEST_F(DepthPolicyTest, AGuessIsWorthTheTimeOfItsExpectedTokens) {
  EXPECT_EQ(policy_.WorthOfGuess(stream_, 0.1), std::numeric_limits<double>::infinity()) << "nothing is known";
  const World world{.draft = 0.3, .verify_per_token = 0.02, .acceptance = 0.8};
  Run(world, 3000);
  policy_.BeginStep(1);
  double best = 0;
  for (uint32_t depth = 0; depth <= kMaxDepth; ++depth) best = std::max(best, world.TokensPerSecond(depth));
  EXPECT_NEAR(policy_.WorthOfGuess(stream_, 0.5), 0.5 * 0.8 / best - 0.02, 0.06);
  EXPECT_LT(policy_.WorthOfGuess(stream_, 0.5), policy_.WorthOfGuess(stream_, 0.6));
  EXPECT_LT(policy_.WorthOfGuess(stream_, 0.001), 0);
  EXPECT_NEAR(policy_.DraftSeconds(1), 0.3, 1e-6);
  while (!policy_.TakeTrial(1)) policy_.NoteStep(1, 0);
  EXPECT_EQ(policy_.WorthOfGuess(stream_, 0.001), std::numeric_limits<double>::infinity()) << "a trial is made in full";
  policy_.BeginStep(1);
  EXPECT_LT(policy_.WorthOfGuess(stream_, 0.001), 0);
}

TEST_F(DepthPolicyTest, TokensOfManyStreamsAreWorthLessTime) {
  for (int i = 0; i < 100; ++i) {
    for (uint32_t tokens = 1; tokens <= 64; ++tokens) policy_.NoteVerification(tokens, false, 1);
    policy_.NoteDraft(1, 0.3);
    policy_.NoteVerified(5, 5, {}, &stream_);
  }
  policy_.BeginStep(1);
  const double of_one = policy_.WorthOfGuess(stream_, 1);
  policy_.BeginStep(8);
  EXPECT_NEAR(policy_.WorthOfGuess(stream_, 1), of_one / 8, 1e-6);
}

TEST_F(DepthPolicyTest, LearnsWhichLeadsAreRight) {
  const std::vector<float> leads = {5, 0.1f, 5};
  EXPECT_NEAR(policy_.ChanceOf(5, stream_), 0.9, 1e-9);
  for (int i = 0; i < 200; ++i) policy_.NoteVerified(2, 1, leads, &stream_);  // the third was not judged
  EXPECT_GT(policy_.ChanceOf(5, stream_), 0.95);
  EXPECT_LT(policy_.ChanceOf(0.1f, stream_), 0.05);
  EXPECT_NEAR(policy_.ChanceOf(1, stream_), stream_.Later(Acceptance()), 0.12) << "not seen";
}

TEST(ConfidenceTest, NeighboursDoNotTellOfEachOther) {
  Confidence confidence;
  for (int i = 0; i < 1000; ++i) {
    for (const float lead : {0.0f, 0.5f, 1.5f, 3.2f, 50.0f}) confidence.Note(lead, i % 10 < lead * 3);
  }
  EXPECT_NEAR(confidence.ChanceOf(0.1f, 0.5), 0, 0.05);
  EXPECT_NEAR(confidence.ChanceOf(0.5f, 0.5), 0.2, 0.05);
  EXPECT_NEAR(confidence.ChanceOf(1.4f, 0.5), 0.5, 0.05);
  EXPECT_NEAR(confidence.ChanceOf(3.1f, 0.5), 1, 0.05);
  EXPECT_NEAR(confidence.ChanceOf(std::numeric_limits<float>::infinity(), 0.5), 1, 0.05);
  EXPECT_EQ(confidence.ChanceOf(10, 0.5), 0.5) << "not seen";
}

TEST(StepCostTest, InterpolatesAndHopes) {
  StepCost cost;
  EXPECT_EQ(cost.Of(3), 0);
  cost.Note(8, 4.0);
  EXPECT_DOUBLE_EQ(cost.Of(8), 4);
  EXPECT_DOUBLE_EQ(cost.Of(1000), 4) << "worth a try";
  EXPECT_DOUBLE_EQ(cost.Of(2), 2) << "worth a try";
  cost.Note(4, 2.0);
  EXPECT_DOUBLE_EQ(cost.Of(6), 3);
  cost.Note(8, 400.0);
  EXPECT_LT(cost.Of(8), 5) << "one interrupted run says little";
  cost.Note(70000, 9.0);
  EXPECT_DOUBLE_EQ(cost.Of(1 << 20), 9);
  for (int i = 0; i < 100; ++i) cost.Note(8, 1.0);
  EXPECT_LE(cost.Of(4), 1.01) << "fewer tokens cost no more";
}

TEST(StepCostTest, WhatWasMeasuredLongAgoWeighsLittle) {
  StepCost recent, old;
  for (StepCost* cost : {&recent, &old}) cost->Note(3, 1.0);
  for (int step = 0; step < 100; ++step) old.BeginStep();
  recent.Note(3, 0.5);
  old.Note(3, 0.5);
  EXPECT_NEAR(recent.Of(3), 0.95, 1e-9);
  EXPECT_NEAR(old.Of(3), 0.5, 1e-9);
}

TEST(StepCostTest, ALowMeasurementOfMoreTokensIsForgotten) {
  StepCost cost;
  cost.Note(1, 1.0);
  cost.Note(6, 0.5);
  EXPECT_DOUBLE_EQ(cost.Of(1), 0.5) << "fewer cost no more";
  for (int i = 0; i < 100; ++i) cost.Note(6, 1.2);
  EXPECT_DOUBLE_EQ(cost.Of(1), 1);
}

TEST(AcceptanceTest, LearnsTheFirstGuessAndTheLaterOnesApart) {
  Acceptance stream;
  const Acceptance prior;
  for (int i = 0; i < 200; ++i) stream.Note(4, i % 2 == 0 ? 4 : 0);
  EXPECT_NEAR(stream.ExpectedTokens(1, prior), 1.5, 0.08);
  EXPECT_NEAR(stream.ExpectedTokens(4, prior), 3, 0.25);
  for (int i = 0; i < 200; ++i) stream.Note(4, 1);
  EXPECT_NEAR(stream.ExpectedTokens(1, prior), 2, 0.1);
  EXPECT_NEAR(stream.ExpectedTokens(4, prior), 2.1, 0.2);
}

}  // namespace
}  // namespace slmmesh
