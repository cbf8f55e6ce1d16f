#include "worker/engine/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <iostream>
#include <limits>
#include <map>
#include <numeric>
#include <random>
#include <set>

namespace slmmesh {
namespace {

constexpr uint32_t kEos = 3;

v1::SamplingParams Plain() {
  v1::SamplingParams params;
  params.set_top_p(1);
  params.set_repetition_penalty(1);
  params.set_max_tokens(1000);
  return params;
}

// What a request has said and been asked, as the oracle sees it: plain lists.
struct Case {
  v1::SamplingParams params = Plain();
  std::vector<uint32_t> prompt, output;
  std::vector<float> logits;

  SamplingState State() const {
    const std::vector<uint32_t> eos = {kEos};
    SamplingState state(params, eos);
    for (uint32_t token : prompt) state.AddPromptToken(token);
    for (uint32_t token : output) state.AddOutputToken(token);
    return state;
  }
  std::optional<uint32_t> Sample() const {
    Sampler sampler;
    return sampler.Sample(logits, State());
  }
};

// The documented steps, written for the reader: float where the definition rounds to float, double and full sorts
// elsewhere. `top_p` and `min_p` are given apart, to ask how near a case is to their edges.
std::vector<float> OracleAdjust(const Case& c) {
  std::vector<float> logits = c.logits;
  for (const auto& [token, bias] : c.params.logit_bias()) logits[token] += bias;
  std::set<uint32_t> seen(c.prompt.begin(), c.prompt.end());
  seen.insert(c.output.begin(), c.output.end());
  for (uint32_t token : seen) {
    const float repetition = c.params.repetition_penalty();
    logits[token] = logits[token] > 0 ? logits[token] / repetition : logits[token] * repetition;
  }
  for (uint32_t token : std::set<uint32_t>(c.output.begin(), c.output.end())) {
    const auto count = static_cast<float>(std::count(c.output.begin(), c.output.end(), token));
    logits[token] -= c.params.frequency_penalty() * count;
    logits[token] -= c.params.presence_penalty();
  }
  const bool too_short = c.output.size() < c.params.min_tokens();
  const auto& stop = c.params.stop_token_ids();
  for (uint32_t token = 0; token < logits.size(); ++token) {
    const bool is_stop = std::find(stop.begin(), stop.end(), token) != stop.end();
    const bool is_ignored = token == kEos && c.params.ignore_eos() && !is_stop;
    if (is_ignored || (too_short && (is_stop || token == kEos))) logits[token] = -INFINITY;
  }
  return logits;
}

std::vector<uint32_t> OracleSurvivors(const std::vector<double>& scaled, double min_p, uint32_t top_k, double top_p) {
  std::vector<uint32_t> kept(scaled.size());
  std::iota(kept.begin(), kept.end(), 0);
  std::stable_sort(kept.begin(), kept.end(), [&](uint32_t a, uint32_t b) { return scaled[a] > scaled[b]; });
  std::erase_if(kept, [&](uint32_t token) { return std::exp(scaled[token]) < min_p; });
  if (top_k > 0 && top_k < kept.size()) {
    const double last = scaled[kept[top_k - 1]];
    std::erase_if(kept, [&](uint32_t token) { return scaled[token] < last; });
  }
  if (top_p >= 1) return kept;
  double total = 0;
  for (uint32_t token : kept) total += std::exp(scaled[token]);
  std::vector<uint32_t> nucleus;
  double likelier = 0, at_this_level = 0;
  for (size_t i = 0; i < kept.size(); ++i) {
    if (i > 0 && scaled[kept[i]] < scaled[kept[i - 1]]) {
      likelier += at_this_level;
      at_this_level = 0;
    }
    if (likelier >= top_p * total) break;
    nucleus.push_back(kept[i]);
    at_this_level += std::exp(scaled[kept[i]]);
  }
  return nucleus;
}

// Empty when rounding could decide: the case stands on the edge of a filter.
std::optional<uint32_t> OracleSample(const Case& c) {
  const std::vector<float> logits = OracleAdjust(c);
  const float max = *std::max_element(logits.begin(), logits.end());
  if (c.params.temperature() == 0) {
    return static_cast<uint32_t>(std::find(logits.begin(), logits.end(), max) - logits.begin());
  }
  std::vector<double> scaled;
  for (float logit : logits) scaled.push_back(static_cast<double>((logit - max) / c.params.temperature()));
  constexpr double kEdge = 2e-6;  // relative: above 3e-7 of our exp and 2^-30 a token of its rounding
  const auto survivors = [&](double edge) {
    std::vector<uint32_t> kept =
        OracleSurvivors(scaled, static_cast<double>(c.params.min_p()) * (1 + edge), c.params.top_k(),
                        c.params.top_p() < 1 ? static_cast<double>(c.params.top_p()) * (1 + edge) : 1);
    std::sort(kept.begin(), kept.end());
    return kept;
  };
  const std::vector<uint32_t> kept = survivors(0);
  if (kept != survivors(kEdge) || kept != survivors(-kEdge)) return std::nullopt;
  const NoiseKey key = MakeNoiseKey(c.params.seed(), c.output.size());
  uint32_t best = kept[0];
  double best_score = -INFINITY;
  for (uint32_t token : kept) {
    const double score = scaled[token] + GumbelNoise(NoiseBits(key, token));
    if (score > best_score) {
      best_score = score;
      best = token;
    }
  }
  return best;
}

Case RandomCase(uint32_t seed) {
  std::mt19937 random(seed);
  const auto chance = [&](uint32_t percent) { return random() % 100 < percent; };
  const auto real = [&](double low, double high) {
    return static_cast<float>(low + (high - low) * static_cast<double>(random()) / 4294967296.0);
  };
  Case c;
  const uint32_t vocab_size = 5 + random() % 900;
  std::normal_distribution<float> normal(real(-5, 5), real(0.1, 6));
  for (uint32_t token = 0; token < vocab_size; ++token) c.logits.push_back(normal(random));
  if (chance(20)) {
    for (float& logit : c.logits) logit = std::round(logit);  // ties
  }
  const auto token = [&] { return static_cast<uint32_t>(random() % vocab_size); };
  for (uint32_t i = random() % 30; i > 0; --i) c.prompt.push_back(token());
  for (uint32_t i = random() % 30; i > 0; --i)
    c.output.push_back(chance(30) && !c.output.empty() ? c.output[0] : token());
  c.params.set_temperature(chance(20) ? 0 : real(0.05, 3));
  if (chance(40)) c.params.set_top_k(1 + random() % (chance(50) ? 50 : 2 * vocab_size));
  if (chance(40)) c.params.set_top_p(real(0.001, 1));
  if (chance(30)) c.params.set_min_p(real(0.0001, chance(50) ? 0.1 : 1));
  if (chance(30)) c.params.set_repetition_penalty(real(0.5, 2));
  if (chance(30)) c.params.set_presence_penalty(real(-2, 2));
  if (chance(30)) c.params.set_frequency_penalty(real(-2, 2));
  if (chance(20)) (*c.params.mutable_logit_bias())[token()] = real(-100, 100);
  if (chance(20)) c.params.set_min_tokens(random() % 40);
  if (chance(20)) c.params.add_stop_token_ids(token());
  if (chance(5)) c.params.add_stop_token_ids(kEos);
  c.params.set_ignore_eos(chance(20));
  c.params.set_seed(random());
  return c;
}

TEST(SamplerTest, AgreesWithTheOracle) {
  constexpr uint32_t kCases = 8000;
  uint32_t on_edge = 0;
  for (uint32_t seed = 1; seed <= kCases; ++seed) {
    const Case c = RandomCase(seed);
    const std::optional<uint32_t> expected = OracleSample(c);
    if (!expected.has_value()) {
      ++on_edge;
      continue;
    }
    const std::optional<uint32_t> token = c.Sample();
    ASSERT_TRUE(token.has_value()) << "seed " << seed;
    ASSERT_EQ(*token, *expected) << "seed " << seed << " " << c.params.ShortDebugString();
  }
  std::cout << kCases << " cases, " << on_edge << " on the edge of a filter\n";
  EXPECT_LT(on_edge, kCases / 50);
}

// A vocabulary of real size with every kind of filter: chunked selection, coarse steps and gathering all take part.
TEST(SamplerTest, AgreesWithTheOracleOnALargeVocabulary) {
  for (uint32_t seed = 1; seed <= 12; ++seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(0, seed % 2 == 0 ? 3.0f : 0.3f);
    Case c;
    for (int i = 0; i < 49152; ++i) c.logits.push_back(normal(random));
    c.params.set_temperature(1);
    c.params.set_seed(seed);
    if (seed % 3 == 1) c.params.set_top_p(0.9f);
    if (seed % 3 == 2) c.params.set_top_k(seed % 4 == 0 ? 5000 : 50);
    const std::optional<uint32_t> expected = OracleSample(c);
    if (!expected.has_value()) continue;
    ASSERT_EQ(c.Sample(), expected) << "seed " << seed;
  }
}

// Draws from 8 tokens at one seed and counts; the statistic of draws from `probabilities` stays below the 99.9 %
// quantile of chi-squared with 7 degrees of freedom, 24.3.
double ChiSquared(const std::function<uint32_t(uint64_t index)>& draw, const std::vector<double>& probabilities) {
  constexpr int kDraws = 200'000;
  std::vector<int> counts(probabilities.size());
  for (int i = 0; i < kDraws; ++i) ++counts[draw(static_cast<uint64_t>(i))];
  double statistic = 0;
  for (size_t token = 0; token < counts.size(); ++token) {
    const double expected = kDraws * probabilities[token];
    statistic += (counts[token] - expected) * (counts[token] - expected) / expected;
  }
  return statistic;
}

TEST(SamplerTest, DrawsFromTheSoftmax) {
  const std::vector<float> logits = {0.5f, -1, 2, 1.5f, 0, -2, 1, 0.25f};
  constexpr float kTemperature = 0.8f;
  std::vector<double> probabilities;
  for (float logit : logits) probabilities.push_back(std::exp(static_cast<double>(logit) / kTemperature));
  const double sum = std::accumulate(probabilities.begin(), probabilities.end(), 0.0);
  for (double& probability : probabilities) probability /= sum;

  const auto draw_with_seed = [&](uint64_t seed) {
    return [&logits, seed](uint64_t index) {
      Candidates candidates;
      candidates.Reset(logits, 2, kTemperature);
      return candidates.Choose(MakeNoiseKey(seed, index)).id;
    };
  };
  for (uint64_t seed : {0u, 1u, 42u}) EXPECT_LT(ChiSquared(draw_with_seed(seed), probabilities), 24.3) << seed;

  // The test must be able to fail: uniform noise in Gumbel's place, and a temperature slightly off.
  const auto wrong_rule = [&](uint64_t index) {
    const NoiseKey key = MakeNoiseKey(1, index);
    uint32_t best = 0;
    double best_score = -INFINITY;
    for (uint32_t token = 0; token < logits.size(); ++token) {
      const double score = static_cast<double>(logits[token]) / kTemperature + 6 * NoiseBits(key, token) * 0x1p-32;
      if (score > best_score) best = token, best_score = score;
    }
    return best;
  };
  EXPECT_GT(ChiSquared(wrong_rule, probabilities), 1000);
  const auto wrong_temperature = [&](uint64_t index) {
    Candidates candidates;
    candidates.Reset(logits, 2, kTemperature * 1.05f);
    return candidates.Choose(MakeNoiseKey(1, index)).id;
  };
  EXPECT_GT(ChiSquared(wrong_temperature, probabilities), 100);
}

TEST(SamplerTest, ATokenDependsOnNothingThatWasSampledBefore) {
  Sampler used;
  for (uint32_t seed = 1; seed <= 200; ++seed) {
    const Case c = RandomCase(seed);
    const std::optional<uint32_t> fresh = c.Sample();
    ASSERT_EQ(used.Sample(c.logits, c.State()), fresh) << "seed " << seed;
    ASSERT_EQ(used.Sample(c.logits, c.State()), fresh) << "seed " << seed;
  }
}

TEST(SamplerTest, TheIndexMovesTheNoise) {
  Case c;
  c.logits.assign(1000, 0.0f);
  c.params.set_temperature(1);
  std::set<uint32_t> chosen;
  for (int i = 0; i < 50; ++i) {
    chosen.insert(c.Sample().value());
    c.output.push_back(0);
  }
  EXPECT_GT(chosen.size(), 40u);
}

TEST(SamplerTest, GreedyTakesTheLowestIdOfEquals) {
  Case c;
  c.logits = {1, 5, 2, 5, 5};
  EXPECT_EQ(c.Sample(), 1u);
}

TEST(SamplerTest, EqualTokensStayOrGoTogether) {
  Candidates candidates;
  const std::vector<float> logits = {1, 3, 3, 3, 0};
  candidates.Reset(logits, 3, 1);
  candidates.FilterTopK(2);
  EXPECT_EQ(candidates.ids(), (std::vector<uint32_t>{1, 2, 3}));
  candidates.Reset(logits, 3, 1);
  candidates.FilterTopP(0.1f);
  EXPECT_EQ(candidates.ids(), (std::vector<uint32_t>{1, 2, 3}));
}

TEST(SamplerTest, MasksEndOfSequence) {
  Case c;
  c.logits = {0, 1, 2, 9, 8};  // 3 is end-of-sequence
  EXPECT_EQ(c.Sample(), kEos);
  c.params.set_min_tokens(2);
  c.params.add_stop_token_ids(4);
  EXPECT_EQ(c.Sample(), 2u);
  c.output = {2, 2};
  EXPECT_EQ(c.Sample(), kEos);
  c.params.set_ignore_eos(true);
  EXPECT_EQ(c.Sample(), 4u);
  EXPECT_FALSE(c.State().EndsRequest(kEos));
  c.params.add_stop_token_ids(kEos);  // asked for by name
  EXPECT_EQ(c.Sample(), kEos);
  EXPECT_TRUE(c.State().EndsRequest(kEos));
}

TEST(SamplerTest, GivesNothingWhereNothingCanBeChosen) {
  constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
  for (float logit : {kNaN, -INFINITY, INFINITY}) {
    for (float temperature : {0.0f, 1.0f}) {
      Case c;
      c.logits.assign(100, logit);
      c.params.set_temperature(temperature);
      EXPECT_EQ(c.Sample(), std::nullopt) << logit;
    }
  }
}

TEST(SamplerTest, SkipsNaNAmongNumbers) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    Case c;
    c.logits.assign(100, std::numeric_limits<float>::quiet_NaN());
    c.logits[10] = c.logits[90] = 1;
    c.params.set_temperature(1);
    c.params.set_top_p(seed % 2 == 0 ? 1 : 0.9f);
    c.params.set_top_k(seed % 3);
    c.params.set_seed(seed);
    const uint32_t token = c.Sample().value();
    ASSERT_TRUE(token == 10 || token == 90) << token;
  }
}

TEST(SamplerTest, ExtremePenaltiesDoNotOverflow) {
  Case c;
  c.logits = {30, 20, 10, 5};
  c.prompt = {0};
  c.params.set_repetition_penalty(std::numeric_limits<float>::min());
  EXPECT_EQ(c.Sample(), 0u);
  c.params.set_temperature(std::numeric_limits<float>::min());
  EXPECT_EQ(c.Sample(), 0u);
}

TEST(SamplingStateTest, GuessesCountUntilTheyAreTakenBack) {
  Case c;
  c.params.set_repetition_penalty(1.5f);
  c.params.set_frequency_penalty(0.5f);
  c.params.set_min_tokens(3);
  c.prompt = {1};
  c.output = {2, 2};
  const std::vector<float> ones(8, 1.0f);
  const auto adjusted = [&ones](const SamplingState& state) {
    std::vector<float> logits = ones;
    state.AdjustLogits(absl::MakeSpan(logits));
    return logits;
  };
  SamplingState state = c.State();
  for (const uint32_t guess : {5, 2, 1, 5}) state.AddGuess(guess);
  Case told = c;
  told.output = {2, 2, 5, 2, 1, 5};
  EXPECT_EQ(adjusted(state), adjusted(told.State()));
  EXPECT_EQ(state.num_output(), 6u);
  state.DropGuesses();
  EXPECT_EQ(adjusted(state), adjusted(c.State()));
  EXPECT_EQ(state.num_output(), 2u);
}

// Raising the second best by the lead decides otherwise; raising anything by a little less does not.
TEST(SamplerTest, AGuessIsWhatWouldBeSampledAndLeadsByWhatWouldChangeIt) {
  Sampler sampler;
  for (uint32_t seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    Case c;
    c.params.set_seed(seed);
    c.params.set_temperature(static_cast<float>(seed % 4) * 0.5f);
    c.logits.resize(2 + random() % 200);
    for (float& logit : c.logits) logit = static_cast<float>(random() % 4000) / 1000;
    const std::optional<LeadingToken> guess = sampler.Guess(c.logits, c.State());
    ASSERT_TRUE(guess.has_value());
    ASSERT_EQ(guess->id, c.Sample());
    const auto others_choice = [&](float more) {
      Case raised = c;
      for (float& logit : raised.logits) logit += more;
      raised.logits[guess->id] = c.logits[guess->id];
      return raised.Sample();
    };
    ASSERT_EQ(others_choice(guess->lead - 1e-3f), guess->id);
    ASSERT_NE(others_choice(guess->lead + 1e-3f), guess->id);
  }
}

TEST(SamplerTest, TheOnlyCandidateLeadsByInfinity) {
  Case c;
  c.logits = {1, 2, 3, 4};
  c.params.set_temperature(1);
  c.params.set_top_k(1);
  Sampler sampler;
  EXPECT_EQ(sampler.Guess(c.logits, c.State())->lead, std::numeric_limits<float>::infinity());
}

TEST(SamplerTest, AProposalIsWhatItsGuessIsDrawnFrom) {
  Case c;
  c.params.set_temperature(0.7f);
  c.params.set_top_k(3);
  c.logits = {0.5f, 1.5f, -2.0f, 1.0f, 0.2f};
  std::map<uint32_t, double> counts;
  Sampler sampler;
  TokenDistribution proposal;
  constexpr uint32_t kSeeds = 4000;
  for (uint32_t seed = 0; seed < kSeeds; ++seed) {
    c.params.set_seed(seed);
    const std::optional<LeadingToken> guess = sampler.Propose(c.logits, c.State(), &proposal);
    ASSERT_TRUE(guess.has_value());
    ASSERT_EQ(guess->id, c.Sample()) << "few tokens: nothing is thinned out";
    counts[guess->id] += 1;
  }
  ASSERT_EQ(proposal.ids, (std::vector<uint32_t>{0, 1, 3}));
  EXPECT_NEAR(std::accumulate(proposal.probabilities.begin(), proposal.probabilities.end(), 0.0), 1, 1e-9);
  EXPECT_NEAR(proposal.Of(1) / proposal.Of(0), std::exp(1 / 0.7), 1e-5);
  for (const auto& [token, count] : counts) EXPECT_NEAR(count / kSeeds, proposal.Of(token), 0.04);
}

}  // namespace
}  // namespace slmmesh
