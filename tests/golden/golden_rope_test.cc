// Rotary frequencies of many settings against transformers' own.

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "worker/model/rope.h"

namespace slmmesh {
namespace {

RopeType ParseRopeType(const std::string& name) {
  if (name == "linear") return RopeType::kLinear;
  if (name == "dynamic") return RopeType::kDynamic;
  if (name == "llama3") return RopeType::kLlama3;
  if (name == "yarn") return RopeType::kYarn;
  return RopeType::kDefault;
}

ModelConfig ConfigOf(const nlohmann::json& json) {
  ModelConfig config;
  config.head_dim = config.rotary_dim = json.at("head_dim");
  config.max_positions = json.at("max_positions");
  RopeConfig& rope = config.rope;
  rope.type = ParseRopeType(json.at("type"));
  rope.theta = json.at("theta");
  rope.factor = json.value("factor", rope.factor);
  rope.low_freq_factor = json.value("low_freq_factor", rope.low_freq_factor);
  rope.high_freq_factor = json.value("high_freq_factor", rope.high_freq_factor);
  rope.original_max_positions = json.value("original_max_positions", rope.original_max_positions);
  rope.beta_fast = json.value("beta_fast", rope.beta_fast);
  rope.beta_slow = json.value("beta_slow", rope.beta_slow);
  rope.attention_factor = json.value("attention_factor", rope.attention_factor);
  rope.mscale = json.value("mscale", rope.mscale);
  rope.mscale_all_dim = json.value("mscale_all_dim", rope.mscale_all_dim);
  rope.truncate = json.value("truncate", rope.truncate);
  return config;
}

TEST(GoldenRopeTest, FrequenciesAgreeWithTransformers) {
  std::ifstream file(MESH_SOURCE_DIR "/tests/golden/rope.json");
  const nlohmann::json cases = nlohmann::json::parse(file);
  ASSERT_GE(cases.size(), 10u);
  for (const nlohmann::json& json : cases) {
    SCOPED_TRACE(json.at("type").get<std::string>() + " theta " + json.at("theta").dump());
    const ModelConfig config = ConfigOf(json);
    const RopeFrequencies ours = ComputeRopeFrequencies(config, json.value("max_model_len", config.max_positions));
    const std::vector<double> theirs = json.at("expected_inverse");
    ASSERT_EQ(ours.inverse.size(), theirs.size());
    // transformers computes theta^x in float32. x is off by 2^-24 of itself, so the power by ln(theta) * 2^-24; the
    // power, the division and the scaling (some five operations, where a difference may double an error) add theirs.
    // Dynamic scaling raises theta first, in float32 where the length is a tensor: as much again.
    const double tolerance = std::ldexp(std::log(config.rope.theta) * 2.0 + 12.0, -24);
    for (size_t i = 0; i < theirs.size(); ++i) {
      EXPECT_NEAR(ours.inverse[i] / theirs[i], 1.0, tolerance) << "dimension " << i;
    }
    EXPECT_NEAR(ours.attention_factor, json.at("expected_attention_factor").get<double>(), 1e-12);
  }
}

}  // namespace
}  // namespace slmmesh
