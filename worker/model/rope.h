// Rotary position tables: the angles by which attention turns queries and keys, for every scaling that Hugging Face's
// Llama-like families know. Computed in double, stored as fp32.
#pragma once

#include <cstdint>
#include <vector>

#include "worker/checkpoint/model_config.h"

namespace slmmesh {

struct RopeFrequencies {
  std::vector<double> inverse;    // [rotary_dim / 2] radians a position
  double attention_factor = 1.0;  // multiplies cos and sin (yarn)
};

// `max_model_len` matters to dynamic scaling alone.
RopeFrequencies ComputeRopeFrequencies(const ModelConfig& config, int64_t max_model_len);

// cos and sin are [max_model_len, rotary_dim / 2].
void FillRopeTables(const RopeFrequencies& frequencies, int64_t max_model_len, float* cos, float* sin);

// The longest context that the model's positions reach: its own, or what its scaling extends them to.
int64_t LongestContext(const ModelConfig& config);

}  // namespace slmmesh
