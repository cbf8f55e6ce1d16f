#include "worker/engine/kv_blocks.h"

#include <gtest/gtest.h>

#include <unordered_map>

#include "worker/engine/testing_submit.h"

namespace slmmesh {
namespace {

class KvBlocksTest : public ::testing::Test {
 protected:
  Sequence Make(const std::vector<uint32_t>& tokens, const std::string& salt = "") {
    v1::Submit submit = GreedySubmit(tokens, 100);
    submit.set_cache_salt(salt);
    ++next_;
    return Sequence(next_, next_, submit, {});
  }
  // As if the model had run everything that is missing.
  void Compute(Sequence* sequence) {
    sequence->num_computed = sequence->num_tokens();
    blocks_.Share(sequence);
  }

  uint64_t next_ = 0;
  KvBlocks blocks_{8, 2, PrefixCaching::kOn};
};

TEST_F(KvBlocksTest, SharesAPrefixButComputesTheLastToken) {
  Sequence first = Make({1, 2, 3, 4});
  ASSERT_TRUE(blocks_.Begin(&first, 0));
  EXPECT_EQ(first.num_computed, 0u);
  Compute(&first);

  Sequence second = Make({1, 2, 3, 4});
  ASSERT_TRUE(blocks_.Begin(&second, 0));
  EXPECT_EQ(second.num_computed, 2u);
  EXPECT_EQ(second.blocks[0], first.blocks[0]);
  EXPECT_NE(second.blocks[1], first.blocks[1]);

  Sequence longer = Make({1, 2, 3, 4, 5});
  ASSERT_TRUE(blocks_.Begin(&longer, 0));
  EXPECT_EQ(longer.num_computed, 4u);
}

TEST_F(KvBlocksTest, NothingIsSharedBeforeItIsComputed) {
  Sequence first = Make({1, 2, 3, 4, 5});
  ASSERT_TRUE(blocks_.Begin(&first, 0));
  first.num_computed = 3;  // one full block
  blocks_.Share(&first);
  Sequence second = Make({1, 2, 3, 4, 5});
  ASSERT_TRUE(blocks_.Begin(&second, 0));
  EXPECT_EQ(second.num_computed, 2u);
}

TEST_F(KvBlocksTest, NeverCrossesSalts) {
  Sequence first = Make({1, 2, 3}, "a");
  ASSERT_TRUE(blocks_.Begin(&first, 0));
  Compute(&first);
  Sequence other = Make({1, 2, 3}, "b");
  ASSERT_TRUE(blocks_.Begin(&other, 0));
  EXPECT_EQ(other.num_computed, 0u);
}

TEST_F(KvBlocksTest, TwoThatComputedTheSameKeepOneCopy) {
  Sequence first = Make({1, 2, 3, 4, 5}), second = Make({1, 2, 3, 4, 6});
  ASSERT_TRUE(blocks_.Begin(&first, 0));
  ASSERT_TRUE(blocks_.Begin(&second, 0));
  EXPECT_EQ(blocks_.num_free(), 2u);
  Compute(&first);
  Compute(&second);
  EXPECT_EQ(blocks_.num_free(), 4u);
  EXPECT_EQ(first.blocks[0], second.blocks[0]);
  EXPECT_EQ(first.blocks[1], second.blocks[1]);
  EXPECT_NE(first.blocks[2], second.blocks[2]);
  blocks_.End(&first);
  blocks_.End(&second);
  EXPECT_EQ(blocks_.num_free(), 8u);
}

TEST_F(KvBlocksTest, CachedBlocksSurviveTheirRequestUntilTheyAreNeeded) {
  Sequence first = Make({1, 2, 3, 4, 5});
  ASSERT_TRUE(blocks_.Begin(&first, 0));
  Compute(&first);
  blocks_.End(&first);
  EXPECT_EQ(blocks_.num_free(), 8u);
  EXPECT_EQ(blocks_.cache().AllHashes().size(), 2u);

  Sequence large = Make(CountingTokens(100, 14));  // 7 of 8 blocks: one cached block has to go, the later one
  ASSERT_TRUE(blocks_.Begin(&large, 0));
  EXPECT_EQ(blocks_.cache().AllHashes().size(), 1u);
  Sequence again = Make({1, 2, 9});
  EXPECT_FALSE(blocks_.Begin(&again, 0)) << "one block would revive the cached one, but a second is missing";
  EXPECT_EQ(blocks_.num_free(), 1u) << "a refusal changes nothing";
  blocks_.End(&large);
  ASSERT_TRUE(blocks_.Begin(&again, 0));
  EXPECT_EQ(again.num_computed, 2u);
}

TEST_F(KvBlocksTest, LeavesTheReserve) {
  Sequence sequence = Make({1, 2, 3});
  EXPECT_FALSE(blocks_.Begin(&sequence, 7));
  EXPECT_TRUE(blocks_.Begin(&sequence, 6));
}

TEST_F(KvBlocksTest, GrowsByTheBlockThatTheLastTokenNeeds) {
  Sequence sequence = Make({1, 2});
  ASSERT_TRUE(blocks_.Begin(&sequence, 0));
  EXPECT_TRUE(blocks_.Grow(&sequence));
  EXPECT_EQ(sequence.blocks.size(), 1u);
  sequence.tokens.push_back(3);
  EXPECT_TRUE(blocks_.Grow(&sequence));
  EXPECT_EQ(sequence.blocks.size(), 2u);
  Sequence rest = Make(CountingTokens(50, 12));
  ASSERT_TRUE(blocks_.Begin(&rest, 0));
  sequence.tokens.insert(sequence.tokens.end(), {4, 5});
  EXPECT_FALSE(blocks_.Grow(&sequence));
}

TEST_F(KvBlocksTest, PromptLogprobsReadNoPrefix) {
  Sequence first = Make({1, 2, 3, 4, 5});
  ASSERT_TRUE(blocks_.Begin(&first, 0));
  Compute(&first);
  v1::Submit submit = GreedySubmit({1, 2, 3, 4, 5}, 10);
  submit.set_cache_salt("");
  submit.mutable_sampling()->set_prompt_logprobs(true);
  Sequence second(90, 90, submit, {});
  ASSERT_TRUE(blocks_.Begin(&second, 0));
  EXPECT_EQ(second.num_computed, 0u);
}

// Two different blocks of two tokens under one root with the same chain hash: the hash's state is 64 bits, a token
// moves 32 of them, so first tokens whose states agree in the upper half are found among some 100,000.
std::pair<std::vector<uint32_t>, std::vector<uint32_t>> CollidingBlocks() {
  std::unordered_map<uint32_t, uint32_t> by_upper_half;
  const auto state_after = [](uint32_t token) {  // undoes nothing: hash of {token, x} = Mix(state ^ (x + 1))
    return NextBlockHash(RootBlockHash(""), {&token, 1});
  };
  for (uint32_t token = 0;; ++token) {
    const uint64_t state = state_after(token);
    const auto [other, inserted] = by_upper_half.try_emplace(static_cast<uint32_t>(state >> 32), token);
    if (inserted) continue;
    const uint32_t difference = static_cast<uint32_t>(state ^ state_after(other->second));
    const uint32_t second = 1000;
    return {{token, second - 1}, {other->second, (second ^ difference) - 1}};
  }
}

TEST_F(KvBlocksTest, ARealCollisionSharesNothing) {
  const auto [tokens, colliding] = CollidingBlocks();
  ASSERT_NE(tokens, colliding);
  ASSERT_EQ(PromptBlockHashes("", tokens, 2), PromptBlockHashes("", colliding, 2));
  std::vector<uint32_t> prompt = tokens, other_prompt = colliding;
  for (uint32_t token : {7, 8, 9}) {
    prompt.push_back(token);
    other_prompt.push_back(token);
  }
  Sequence first = Make(prompt);
  ASSERT_TRUE(blocks_.Begin(&first, 0));
  Compute(&first);
  Sequence second = Make(other_prompt);
  ASSERT_TRUE(blocks_.Begin(&second, 0));
  EXPECT_EQ(second.num_computed, 0u);
  Compute(&second);
  EXPECT_EQ(second.num_shareable, 0u);
  EXPECT_EQ(blocks_.cache().AllHashes().size(), 2u);
  for (BlockId block : second.blocks) {
    EXPECT_EQ(std::count(first.blocks.begin(), first.blocks.end(), block), 0)
        << "a block of different tokens is shared";
  }
}

TEST_F(KvBlocksTest, KnowsWhatIsBeingComputed) {
  Sequence busy = Make({1, 2, 3, 4, 5, 6});
  ASSERT_TRUE(blocks_.Begin(&busy, 0));
  Sequence same = Make({1, 2, 3, 4, 9}), other = Make({3, 4, 1, 2, 9}), brief = Make({1, 2});
  std::vector<Sequence*> running = {&busy};
  EXPECT_TRUE(blocks_.IsBeingComputed(&same, running));
  EXPECT_FALSE(blocks_.IsBeingComputed(&other, running));
  EXPECT_FALSE(blocks_.IsBeingComputed(&brief, running)) << "its only block has its last token";
  EXPECT_FALSE(blocks_.IsBeingComputed(&same, {}));
  busy.num_computed = 2;
  blocks_.Share(&busy);
  EXPECT_TRUE(blocks_.IsBeingComputed(&same, running)) << "the second block is still to come";
  busy.num_computed = 4;
  blocks_.Share(&busy);
  EXPECT_FALSE(blocks_.IsBeingComputed(&same, running));
}

TEST_F(KvBlocksTest, GuessesTakeWhatIsFreeAndGiveItBack) {
  Sequence sequence = Make({1, 2, 3});
  ASSERT_TRUE(blocks_.Begin(&sequence, 0));
  EXPECT_EQ(blocks_.GrowForGuesses(&sequence, 1), 1u);
  EXPECT_EQ(blocks_.num_free(), 6u) << "there was room";
  EXPECT_EQ(blocks_.GrowForGuesses(&sequence, 4), 4u);
  EXPECT_EQ(blocks_.num_free(), 4u);
  EXPECT_EQ(blocks_.GrowForGuesses(&sequence, 100), 13u) << "all that there is";
  EXPECT_EQ(blocks_.num_free(), 0u);
  blocks_.Trim(&sequence);
  EXPECT_EQ(blocks_.num_free(), 6u);
  blocks_.End(&sequence);
  EXPECT_EQ(blocks_.num_free(), 8u);
}

TEST_F(KvBlocksTest, WhatADraftComputedIsFoundUntilTheBlockIsUsedAgain) {
  Sequence first = Make({1, 2, 3, 4, 5});
  ASSERT_TRUE(blocks_.Begin(&first, 0));
  Compute(&first);
  blocks_.NoteDrafted(&first, 3);
  blocks_.End(&first);
  EXPECT_EQ(first.speculation.num_drafted, 0u);

  Sequence second = Make({1, 2, 3, 4, 5});
  ASSERT_TRUE(blocks_.Begin(&second, 0));
  blocks_.FindDrafted(&second);
  EXPECT_EQ(second.speculation.num_drafted, 2u) << "its second block is half drafted";
  blocks_.NoteDrafted(&second, 4);
  blocks_.End(&second);

  Sequence large = Make(CountingTokens(100, 16));
  ASSERT_TRUE(blocks_.Begin(&large, 0));
  Compute(&large);
  blocks_.FindDrafted(&large);
  EXPECT_EQ(large.speculation.num_drafted, 0u);
}

TEST_F(KvBlocksTest, ASharedBlockThatIsNotDraftedTakesADraftBack) {
  Sequence first = Make({1, 2, 3}), second = Make({1, 2, 3});
  ASSERT_TRUE(blocks_.Begin(&first, 0));
  ASSERT_TRUE(blocks_.Begin(&second, 0));
  blocks_.NoteDrafted(&second, 3);
  Compute(&first);
  Compute(&second);  // takes the first's block
  EXPECT_EQ(second.blocks[0], first.blocks[0]);
  EXPECT_EQ(second.speculation.num_drafted, 0u);
}

TEST_F(KvBlocksTest, ARightGuessKeepsWhatTheDraftWrote) {
  Sequence sequence = Make({1, 2, 3});
  ASSERT_TRUE(blocks_.Begin(&sequence, 0));
  blocks_.NoteDrafted(&sequence, 3);
  sequence.speculation.num_written = 4;
  for (const uint32_t drafted : {4, 4}) {
    sequence.tokens.push_back(7);
    ASSERT_TRUE(blocks_.Grow(&sequence));
    blocks_.KeepDrafted(&sequence);
    EXPECT_EQ(sequence.speculation.num_drafted, drafted) << "the draft wrote four";
  }
}

}  // namespace
}  // namespace slmmesh
