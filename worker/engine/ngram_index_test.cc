#include "worker/engine/ngram_index.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <iostream>
#include <random>

namespace slmmesh {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Tokens = std::vector<uint32_t>;

Tokens Continue(const Tokens& tokens, uint32_t count) { return NgramIndex().Continue(tokens, count); }

TEST(NgramIndexTest, GivesWhatFollowedTheSuffix) {
  EXPECT_THAT(Continue({1, 2, 3, 4, 9, 1, 2}, 2), ElementsAre(3, 4));
  EXPECT_THAT(Continue({1, 2, 3, 4, 9, 1, 2}, 4), ElementsAre(3, 4, 9, 1));
}

TEST(NgramIndexTest, NothingToSay) {
  for (const Tokens& tokens : std::vector<Tokens>{{}, {1}, {1, 2}, {1, 2, 3, 4}, {1, 2, 3, 2}}) {
    EXPECT_THAT(Continue(tokens, 3), IsEmpty());
  }
}

TEST(NgramIndexTest, TheLongestSuffixWinsThenTheMostRecent) {
  EXPECT_THAT(Continue({7, 1, 2, 5, 8, 1, 2, 6, 7, 1, 2}, 1), ElementsAre(5)) << "7 1 2 is longer";
  EXPECT_THAT(Continue({7, 1, 2, 5, 8, 1, 2, 6, 9, 1, 2}, 1), ElementsAre(6)) << "8 1 2 is more recent";
}

TEST(NgramIndexTest, WhatReachesTheEndGoesOnWithItself) {
  EXPECT_THAT(Continue({1, 2, 3, 1, 2, 3}, 7), ElementsAre(1, 2, 3, 1, 2, 3, 1));
  EXPECT_THAT(Continue({4, 5, 5, 5}, 3), ElementsAre(5, 5, 5));
}

// What the index says, by looking everywhere.
Tokens Oracle(const Tokens& tokens, uint32_t count) {
  for (size_t n = NgramIndex::kLongest; n >= NgramIndex::kShortest; --n) {
    for (size_t end = tokens.size() - 1; tokens.size() > n && end >= n; --end) {
      if (!std::equal(tokens.end() - static_cast<ptrdiff_t>(n), tokens.end(),
                      tokens.begin() + static_cast<ptrdiff_t>(end - n))) {
        continue;
      }
      Tokens guesses;
      for (size_t from = end; guesses.size() < count; ++from) {
        guesses.push_back(from < tokens.size() ? tokens[from] : guesses[from - tokens.size()]);
      }
      return guesses;
    }
  }
  return {};
}

TEST(NgramIndexTest, AGrowingTextAgreesWithASearch) {
  const uint32_t seed = std::random_device()();
  std::cout << "seed " << seed << "\n";
  std::mt19937 random(seed);
  for (int text = 0; text < 20; ++text) {
    NgramIndex index;
    Tokens tokens;
    int found = 0;
    while (tokens.size() < 300) {
      for (uint32_t i = 0; i <= random() % 4; ++i) tokens.push_back(random() % 6);
      const uint32_t count = 1 + random() % 5;
      const Tokens guesses = index.Continue(tokens, count);
      ASSERT_EQ(guesses, Oracle(tokens, count)) << "after " << tokens.size() << " tokens";
      found += guesses.empty() ? 0 : 1;
    }
    EXPECT_GT(found, 50);
  }
}

}  // namespace
}  // namespace slmmesh
