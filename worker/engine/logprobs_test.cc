#include "worker/engine/logprobs.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

namespace slmmesh {
namespace {

TEST(LogprobsTest, AgreeWithLogSoftmaxInDouble) {
  for (uint32_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(3, static_cast<float>(1 + seed % 8));
    std::vector<float> logits(1 + random() % 3000);
    for (float& logit : logits) logit = normal(random);
    if (logits.size() > 40) logits[37] = logits[5];  // a tie

    const double max = *std::max_element(logits.begin(), logits.end());
    double sum = 0;
    for (float logit : logits) sum += std::exp(static_cast<double>(logit) - max);
    const auto exact = [&](uint32_t token) { return static_cast<double>(logits[token]) - max - std::log(sum); };

    const RowLogprobs row(logits);
    // 3e-7 for the exponentials, half a unit in the last place for the result.
    const auto tolerance = [](double value) { return 3e-7 + std::abs(value) * 0x1p-24; };
    for (uint32_t token = 0; token < logits.size(); ++token) {
      ASSERT_NEAR(static_cast<double>(row.Of(token)), exact(token), tolerance(exact(token)));
    }
    std::vector<uint32_t> order(logits.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return logits[a] > logits[b]; });
    const std::vector<TokenAndLogprob> top = row.Top(20);
    ASSERT_EQ(top.size(), std::min<size_t>(20, logits.size()));
    for (size_t i = 0; i < top.size(); ++i) {
      ASSERT_EQ(top[i].token, order[i]);
      ASSERT_EQ(top[i].logprob, row.Of(order[i]));
    }
    ASSERT_TRUE(row.Top(0).empty());
  }
}

}  // namespace
}  // namespace slmmesh
