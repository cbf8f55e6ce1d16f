// Frequencies of the scalings are held against transformers in tests/golden; here is what it cannot say.
#include "worker/model/rope.h"

#include <gtest/gtest.h>

#include <cmath>

namespace slmmesh {
namespace {

ModelConfig ConfigOf(RopeType type, double factor) {
  ModelConfig config;
  config.head_dim = config.rotary_dim = 8;
  config.max_positions = 100;
  config.rope.type = type;
  config.rope.factor = factor;
  return config;
}

TEST(Rope, FrequencyFactorsDivide) {
  ModelConfig config = ConfigOf(RopeType::kDefault, 1.0);
  config.rope.frequency_factors = {1.0f, 1.0f, 4.0f, 8.0f};
  const RopeFrequencies frequencies = ComputeRopeFrequencies(config, 100);
  EXPECT_DOUBLE_EQ(frequencies.inverse[1], 0.1);
  EXPECT_DOUBLE_EQ(frequencies.inverse[2], 0.01 / 4.0);
  EXPECT_DOUBLE_EQ(frequencies.inverse[3], std::pow(10000.0, -0.75) / 8.0);
}

TEST(Rope, DynamicScalingIsFixedByTheLongestSequenceServed) {
  const ModelConfig config = ConfigOf(RopeType::kDynamic, 2.0);
  const RopeFrequencies plain = ComputeRopeFrequencies(ConfigOf(RopeType::kDefault, 1.0), 100);
  EXPECT_EQ(ComputeRopeFrequencies(config, 50).inverse, plain.inverse);
  EXPECT_EQ(ComputeRopeFrequencies(config, 100).inverse, plain.inverse);
  EXPECT_LT(ComputeRopeFrequencies(config, 200).inverse[3], plain.inverse[3]);
}

TEST(Rope, TablesHoldCosinesAndSinesTimesTheAttentionFactor) {
  const RopeFrequencies frequencies = {{1.0, 0.25}, 1.5};
  float cos[6];
  float sin[6];
  FillRopeTables(frequencies, 3, cos, sin);
  EXPECT_FLOAT_EQ(cos[0], 1.5f);
  EXPECT_FLOAT_EQ(sin[1], 0.0f);
  EXPECT_FLOAT_EQ(cos[2 * 2], 1.5f * std::cos(2.0f));
  EXPECT_FLOAT_EQ(sin[2 * 2 + 1], 1.5f * std::sin(0.5f));
}

TEST(Rope, ScalingExtendsTheLongestContext) {
  EXPECT_EQ(LongestContext(ConfigOf(RopeType::kDefault, 1.0)), 100);
  EXPECT_EQ(LongestContext(ConfigOf(RopeType::kLinear, 4.0)), 400);
  ModelConfig yarn = ConfigOf(RopeType::kYarn, 4.0);
  yarn.rope.original_max_positions = 20;
  EXPECT_EQ(LongestContext(yarn), 100);  // max_positions says more than 4 * 20
}

}  // namespace
}  // namespace slmmesh
