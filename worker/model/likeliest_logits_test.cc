#include "worker/model/likeliest_logits.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <iostream>
#include <limits>
#include <numeric>
#include <random>

namespace slmmesh {
namespace {

constexpr int64_t kVocab = 1000, kHidden = 37;

class LikeliestLogitsTest : public testing::Test {
 protected:
  LikeliestLogitsTest() {
    std::cout << "seed " << seed_ << "\n";
    for (float& value : values_) value = normal_(random_);
    for (float& value : normed_) value = normal_(random_) / 4;  // the largest logits are all near the very largest
  }

  TensorView Head() const {
    return {"lm_head.weight",
            TensorType::kF32,
            {kVocab, kHidden},
            {reinterpret_cast<const uint8_t*>(values_.data()), values_.size() * sizeof(float)}};
  }
  float Exact(int64_t token) const {
    return std::inner_product(normed_.begin(), normed_.end(), values_.begin() + token * kHidden, 0.0f);
  }
  // As a head in few bits gives them.
  std::vector<float> Rough(UnitRange rows) {
    std::vector<float> logits;
    for (int64_t token = rows.begin; token < rows.end; ++token) logits.push_back(Exact(token) + normal_(random_));
    return logits;
  }

  const uint32_t seed_ = std::random_device()();
  std::mt19937 random_{seed_};
  std::normal_distribution<float> normal_;
  std::vector<float> values_ = std::vector<float>(kVocab * kHidden), normed_ = std::vector<float>(kHidden);
};

TEST_F(LikeliestLogitsTest, TheLargestAndNoOthersAreExact) {
  for (const UnitRange rows : {UnitRange{0, kVocab}, UnitRange{0, 640}, UnitRange{321, 500}, UnitRange{7, 8}}) {
    const std::vector<float> rough = Rough(rows);
    std::vector<float> sorted = rough, logits = rough;
    std::sort(sorted.begin(), sorted.end(), std::greater<float>());
    constexpr int64_t kCount = 8;
    const float least = sorted[static_cast<size_t>(std::min(kCount, rows.size()) - 1)];
    LikeliestLogits(Head(), rows, kCount).Recompute(normed_.data(), logits.data());
    for (int64_t i = 0; i < rows.size(); ++i) {
      const auto at = static_cast<size_t>(i);
      if (rough[at] < least) {
        EXPECT_EQ(logits[at], rough[at]) << i;
      } else {
        EXPECT_NEAR(logits[at], Exact(rows.begin + i), 1e-4) << i;
      }
    }
  }
}

TEST_F(LikeliestLogitsTest, WhatIsUnlikelyStaysAsItIs) {
  std::vector<float> logits(kVocab, -20.0f);
  logits[999] = 0;
  LikeliestLogits(Head(), {0, kVocab}, 8).Recompute(normed_.data(), logits.data());
  EXPECT_NEAR(logits[999], Exact(999), 1e-4);
  EXPECT_EQ(std::count(logits.begin(), logits.end(), -20.0f), kVocab - 1);
}

TEST_F(LikeliestLogitsTest, RowsWithoutNumbersStayAsTheyAre) {
  std::vector<float> logits(kVocab, std::numeric_limits<float>::quiet_NaN());
  LikeliestLogits(Head(), {0, kVocab}, 8).Recompute(normed_.data(), logits.data());
  for (const float logit : logits) EXPECT_TRUE(std::isnan(logit));
  LikeliestLogits(Head(), {5, 5}, 8).Recompute(normed_.data(), nullptr);  // a rank without a part of the vocabulary
}

}  // namespace
}  // namespace slmmesh
