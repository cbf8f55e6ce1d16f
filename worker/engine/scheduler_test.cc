#include "worker/engine/scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>

#include "worker/engine/testing_submit.h"

namespace slmmesh {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

// Names are ids: what a step computes, as (id, tokens).
using Plan = std::vector<std::pair<uint64_t, uint32_t>>;

class SchedulerTest : public ::testing::Test {
 protected:
  void SetUp() override { Start({.max_num_seqs = 4, .max_num_batched_tokens = 16}, 64); }

  void Start(const SchedulerLimits& limits, uint32_t num_blocks) {
    scheduler_.reset();
    sequences_.clear();
    blocks_ = std::make_unique<KvBlocks>(num_blocks, 4, PrefixCaching::kOn);
    scheduler_ = std::make_unique<Scheduler>(limits, blocks_.get());
  }

  // Prompts of different requests share nothing unless they are given the same first token.
  Sequence* Add(uint32_t prompt_tokens, const std::string& tenant = "t", uint32_t first_token = 0) {
    const uint64_t id = sequences_.size();
    if (first_token == 0) first_token = 1000 * (static_cast<uint32_t>(id) + 1);
    v1::Submit submit = GreedySubmit(CountingTokens(first_token, prompt_tokens), 1000);
    submit.set_tenant(tenant);
    sequences_.push_back(std::make_unique<Sequence>(id, id, submit, std::vector<uint32_t>{}));
    scheduler_->Add(sequences_.back().get());
    return sequences_.back().get();
  }

  // Schedules, and does what a step does: computes, shares, and gives a token to those that reached their end.
  Plan Step(uint32_t max_prompt_tokens_beside_decodes = UINT32_MAX) {
    Plan plan;
    for (const Chunk& chunk : scheduler_->Schedule(max_prompt_tokens_beside_decodes)) {
      Sequence* sequence = chunk.sequence;
      plan.emplace_back(sequence->id, chunk.num_tokens);
      sequence->num_computed += chunk.num_tokens;
      blocks_->Share(sequence);
      if (sequence->num_uncomputed() == 0) sequence->tokens.push_back(500'000 + sequence->num_tokens());
    }
    return plan;
  }

  std::vector<uint64_t> Running() const {
    std::vector<uint64_t> ids;
    for (const Sequence* sequence : scheduler_->running()) ids.push_back(sequence->id);
    return ids;
  }

  std::unique_ptr<KvBlocks> blocks_;
  std::unique_ptr<Scheduler> scheduler_;
  std::vector<std::unique_ptr<Sequence>> sequences_;
};

TEST_F(SchedulerTest, NothingToDo) { EXPECT_THAT(Step(), IsEmpty()); }

TEST_F(SchedulerTest, ALongPromptNeverStallsARunningStream) {
  Add(3);
  EXPECT_THAT(Step(), ElementsAre(Pair(0, 3)));
  Add(40);
  EXPECT_THAT(Step(), ElementsAre(Pair(0, 1), Pair(1, 15)));
  EXPECT_THAT(Step(), ElementsAre(Pair(0, 1), Pair(1, 15)));
  EXPECT_THAT(Step(), ElementsAre(Pair(0, 1), Pair(1, 10)));
  EXPECT_THAT(Step(), ElementsAre(Pair(0, 1), Pair(1, 1)));
}

TEST_F(SchedulerTest, PromptTokensBesideDecodesAreBounded) {
  Add(3);
  EXPECT_THAT(Step(6), ElementsAre(Pair(0, 3)));
  Add(30);
  EXPECT_THAT(Step(6), ElementsAre(Pair(0, 1), Pair(1, 6)));
  scheduler_->Remove(sequences_[0].get());
  EXPECT_THAT(Step(6), ElementsAre(Pair(1, 16)));  // nobody waits for its next token
}

TEST_F(SchedulerTest, FirstComeFirstServedWithinATenant) {
  Start({.max_num_seqs = 2, .max_num_batched_tokens = 16}, 64);
  for (int i = 0; i < 3; ++i) Add(4);
  EXPECT_THAT(Step(), ElementsAre(Pair(0, 4), Pair(1, 4)));
  scheduler_->Remove(sequences_[0].get());
  EXPECT_THAT(Step(), ElementsAre(Pair(1, 1), Pair(2, 4)));
}

TEST_F(SchedulerTest, TheTenantThatHoldsLeastIsNext) {
  Start({.max_num_seqs = 3, .max_num_batched_tokens = 64}, 64);
  for (int i = 0; i < 10; ++i) Add(4, "greedy");
  Add(4, "modest");
  EXPECT_THAT(Step(), ElementsAre(Pair(0, 4), Pair(10, 4), Pair(1, 4)));
  scheduler_->Remove(sequences_[0].get());
  Add(4, "newcomer");
  EXPECT_THAT(Step(), ElementsAre(Pair(10, 1), Pair(1, 1), Pair(11, 4)));
}

TEST_F(SchedulerTest, AnotherTenantsLongPromptLeavesRoom) {
  Add(100, "long");
  EXPECT_THAT(Step(), ElementsAre(Pair(0, 16)));
  Add(5, "short");
  EXPECT_THAT(Step(), ElementsAre(Pair(0, 11), Pair(1, 5))) << "half, and then what the other left";
  EXPECT_THAT(Step(), ElementsAre(Pair(1, 1), Pair(0, 15)));
}

TEST_F(SchedulerTest, SharersWaitForTheOneThatComputesTheirPrefix) {
  Start({.max_num_seqs = 4, .max_num_batched_tokens = 64}, 64);
  for (int i = 0; i < 3; ++i) Add(10, "t", 7);
  EXPECT_THAT(Step(), ElementsAre(Pair(0, 10)));
  EXPECT_THAT(Step(), ElementsAre(Pair(0, 1), Pair(1, 2), Pair(2, 2)));
}

TEST_F(SchedulerTest, SharersDoNotWaitForOneThatIsGone) {
  Start({.max_num_seqs = 4, .max_num_batched_tokens = 4}, 64);
  Add(10, "t", 7);
  Add(10, "t", 7);
  EXPECT_THAT(Step(), ElementsAre(Pair(0, 4)));
  scheduler_->Remove(sequences_[0].get());
  EXPECT_THAT(Step(), ElementsAre(Pair(1, 4)));
  EXPECT_EQ(sequences_[1]->num_computed, 8u) << "and they keep what it had done";
}

TEST_F(SchedulerTest, PreemptsTheLatestOfTheTenantThatHoldsMost) {
  Start({.max_num_seqs = 4, .max_num_batched_tokens = 64}, 10);
  Add(4, "a");
  Step();
  Add(4, "b");
  Step();
  Add(4, "b");
  Step();
  EXPECT_THAT(Running(), ElementsAre(0, 1, 2));
  // Each needs a second and then a third block: 3 + 3 + 3, and the fourths do not fit.
  while (scheduler_->num_preemptions() == 0) Step();
  EXPECT_THAT(Running(), ElementsAre(0, 1));
  const uint32_t tokens_before = sequences_[2]->num_tokens();
  EXPECT_EQ(sequences_[2]->num_computed, 0u);
  EXPECT_THAT(sequences_[2]->blocks, IsEmpty());
  scheduler_->Remove(sequences_[1].get());
  const Plan plan = Step();
  EXPECT_EQ(plan.back().first, 2u);
  EXPECT_GE(sequences_[2]->num_tokens(), tokens_before) << "its tokens are kept";
}

TEST_F(SchedulerTest, ThePreemptedGoAheadOfThoseThatNeverRan) {
  Start({.max_num_seqs = 2, .max_num_batched_tokens = 64}, 6);
  Add(8);
  Add(8);
  Add(4);
  while (scheduler_->num_preemptions() == 0) Step();
  EXPECT_THAT(Running(), ElementsAre(0));
  scheduler_->Remove(sequences_[0].get());
  Step();
  EXPECT_EQ(Running()[0], 1u);
}

TEST_F(SchedulerTest, TheOldestIsNeverPreempted) {
  Start({.max_num_seqs = 4, .max_num_batched_tokens = 64}, 8);
  Add(12, "large");  // its tenant holds the most
  for (int i = 0; i < 3; ++i) Add(4, "t" + std::to_string(i));
  while (sequences_[0]->num_tokens() < 32) {  // all of the memory
    const uint32_t before = sequences_[0]->num_tokens();
    Step();
    ASSERT_EQ(sequences_[0]->num_tokens(), before + 1);
  }
  EXPECT_GT(scheduler_->num_preemptions(), 0u);
  EXPECT_THAT(Running(), ElementsAre(0));
}

TEST_F(SchedulerTest, PromptLogprobsComeInBoundedChunks) {
  Start({.max_num_seqs = 4, .max_num_batched_tokens = 512}, 256);
  v1::Submit submit = GreedySubmit(CountingTokens(1, 200), 10);
  submit.mutable_sampling()->set_prompt_logprobs(true);
  sequences_.push_back(std::make_unique<Sequence>(0, 0, submit, std::vector<uint32_t>{}));
  scheduler_->Add(sequences_[0].get());
  EXPECT_THAT(Step(), ElementsAre(Pair(0, kMaxPromptLogitRows)));
}

// One tenant floods, another sends one request at a time: each of those is admitted as soon as a place is free.
TEST_F(SchedulerTest, AFloodDoesNotDelayAnotherTenant) {
  Start({.max_num_seqs = 4, .max_num_batched_tokens = 32}, 64);
  for (int i = 0; i < 50; ++i) Add(4, "flood");
  for (int round = 0; round < 10; ++round) {
    Sequence* modest = Add(4, "modest");
    scheduler_->Remove(round == 0 ? sequences_[49].get() : scheduler_->running().front());
    Step();
    ASSERT_THAT(Running(), ::testing::Contains(modest->id)) << "round " << round;
    scheduler_->Remove(modest);
    Step();
  }
}

}  // namespace
}  // namespace slmmesh
