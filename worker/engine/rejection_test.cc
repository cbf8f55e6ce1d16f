// The distribution of what the rejection rule gives, held against the exact one by chi-squared at fixed seeds. Rules
// that are wrong in likely ways fail the same test.
#include "worker/engine/rejection.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <random>

namespace slmmesh {
namespace {

constexpr uint32_t kTokens = 8;
constexpr uint32_t kSamples = 20'000;

using Rule = std::function<uint32_t(const TokenDistribution& target, const TokenDistribution& proposal, uint32_t guess,
                                    NoiseKey accept, NoiseKey resample)>;

// Some tokens have no probability at all, as after top-k.
TokenDistribution RandomDistribution(std::mt19937& random) {
  TokenDistribution distribution;
  double sum = 0;
  for (uint32_t token = 0; token < kTokens; ++token) {
    if (token > 0 && random() % 4 == 0) continue;
    distribution.ids.push_back(token);
    distribution.probabilities.push_back(std::exp(static_cast<double>(random() % 400) / 100));
    sum += distribution.probabilities.back();
  }
  for (double& probability : distribution.probabilities) probability /= sum;
  return distribution;
}

uint32_t Draw(const TokenDistribution& distribution, NoiseKey key) {
  uint32_t best_id = 0;
  double best = -INFINITY;
  for (size_t i = 0; i < distribution.ids.size(); ++i) {
    const double score = std::log(distribution.probabilities[i]) + GumbelNoise(NoiseBits(key, distribution.ids[i]));
    if (score > best) best_id = distribution.ids[i];
    best = std::max(best, score);
  }
  return best_id;
}

// Of the rule's tokens against the target, divided by what chance stays below with a probability of 1 - 1e-6.
double ChiSquared(const Rule& rule, const TokenDistribution& target, const TokenDistribution& proposal) {
  std::vector<uint32_t> counts(kTokens);
  for (uint64_t seed = 0; seed < kSamples; ++seed) {
    const auto key = [seed](NoiseUse use) { return MakeNoiseKey(seed, 3, use); };
    const uint32_t guess = Draw(proposal, key(NoiseUse::kChoice));
    ++counts[rule(target, proposal, guess, key(NoiseUse::kAccept), key(NoiseUse::kResample))];
  }
  double sum = 0;
  for (uint32_t token = 0; token < kTokens; ++token) {
    const double expected = kSamples * target.Of(token);
    if (expected == 0) {
      if (counts[token] > 0) return INFINITY;
      continue;
    }
    sum += (counts[token] - expected) * (counts[token] - expected) / expected;
  }
  constexpr double kCriticalOf7 = 40.5;  // 7 degrees of freedom
  return sum / kCriticalOf7;
}

// The worst over pairs of distributions.
double WorstChiSquared(const Rule& rule) {
  std::mt19937 random(5);
  double worst = 0;
  for (int pair = 0; pair < 10; ++pair) {
    const TokenDistribution target = RandomDistribution(random);
    worst = std::max(worst, ChiSquared(rule, target, RandomDistribution(random)));
  }
  return worst;
}

TEST(RejectionTest, GivesTheTargetsDistribution) { EXPECT_LT(WorstChiSquared(AcceptOrResample), 1); }

TEST(RejectionTest, WrongRulesFail) {
  const auto uniform = [](NoiseKey key) { return (static_cast<double>(NoiseBits(key, 0)) + 0.5) * 0x1p-32; };
  const Rule accept_always = [](const auto&, const auto&, uint32_t guess, NoiseKey, NoiseKey) { return guess; };
  EXPECT_GT(WorstChiSquared(accept_always), 1);
  const Rule resample_from_target = [&](const TokenDistribution& target, const TokenDistribution& proposal,
                                        uint32_t guess, NoiseKey accept, NoiseKey resample) {
    const bool stays = uniform(accept) * proposal.Of(guess) < target.Of(guess);
    return stays ? guess : Draw(target, resample);
  };
  EXPECT_GT(WorstChiSquared(resample_from_target), 1);
  const Rule one_noise_for_both = [](const TokenDistribution& target, const TokenDistribution& proposal, uint32_t guess,
                                     NoiseKey accept,
                                     NoiseKey) { return AcceptOrResample(target, proposal, guess, accept, accept); };
  EXPECT_GT(WorstChiSquared(one_noise_for_both), 1) << "draws that depend on each other";
}

TEST(RejectionTest, EqualDistributionsAcceptAll) {
  std::mt19937 random(6);
  const TokenDistribution both = RandomDistribution(random);
  for (uint64_t seed = 0; seed < 1000; ++seed) {
    const uint32_t guess = Draw(both, MakeNoiseKey(seed, 0));
    EXPECT_EQ(AcceptOrResample(both, both, guess, MakeNoiseKey(seed, 0, NoiseUse::kAccept), {}), guess);
  }
}

}  // namespace
}  // namespace slmmesh
