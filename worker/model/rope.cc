#include "worker/model/rope.h"

#include <algorithm>
#include <cmath>

namespace slmmesh {
namespace {

constexpr double kPi = 3.14159265358979323846;

int64_t OriginalPositions(const ModelConfig& config) {
  return config.rope.original_max_positions > 0 ? config.rope.original_max_positions : config.max_positions;
}

// theta^(-2i / dim) for i in [0, dim / 2).
std::vector<double> PlainFrequencies(double theta, int64_t rotary_dim) {
  std::vector<double> inverse(rotary_dim / 2);
  for (int64_t i = 0; i < rotary_dim / 2; ++i) {
    inverse[i] = std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(rotary_dim));
  }
  return inverse;
}

// Dynamic NTK scaling raises theta with the length of the sequence. transformers takes the longest sequence that it has
// seen so far, so the numbers of one request depend on who came before it, and cached keys were turned by another theta
// than the queries that read them. Numbers here never depend on company: theta is fixed once, for the longest sequence
// that this model will serve. Up to the original context it is the model's own theta.
double DynamicTheta(const ModelConfig& config, int64_t max_model_len) {
  const double original = static_cast<double>(OriginalPositions(config));
  const double dim = static_cast<double>(config.rotary_dim);
  const double length = std::max(static_cast<double>(max_model_len), original);
  const double stretch = config.rope.factor * length / original - (config.rope.factor - 1.0);
  return dim > 2.0 ? config.rope.theta * std::pow(stretch, dim / (dim - 2.0)) : config.rope.theta;
}

// Llama 3.1: short waves stay, long ones are slowed by `factor`, those between are blended.
void ScaleLlama3(const ModelConfig& config, std::vector<double>* inverse) {
  const RopeConfig& rope = config.rope;
  const double original = static_cast<double>(OriginalPositions(config));
  for (double& frequency : *inverse) {
    const double wavelength = 2.0 * kPi / frequency;
    if (wavelength > original / rope.low_freq_factor) {
      frequency /= rope.factor;
    } else if (wavelength >= original / rope.high_freq_factor) {
      const double smooth =
          (original / wavelength - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor);
      frequency = (1.0 - smooth) * frequency / rope.factor + smooth * frequency;
    }
  }
}

// The dimension whose wave turns `rotations` times over the original context.
double YarnDimension(const ModelConfig& config, double rotations) {
  return static_cast<double>(config.rotary_dim) *
         std::log(static_cast<double>(OriginalPositions(config)) / (rotations * 2.0 * kPi)) /
         (2.0 * std::log(config.rope.theta));
}

// YaRN: dimensions below `low` keep their frequency, those above `high` are slowed by `factor`, a ramp lies between.
void ScaleYarn(const ModelConfig& config, std::vector<double>* inverse) {
  double low = YarnDimension(config, config.rope.beta_fast);
  double high = YarnDimension(config, config.rope.beta_slow);
  if (config.rope.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(config.rotary_dim - 1));
  if (low == high) high += 0.001;
  for (size_t i = 0; i < inverse->size(); ++i) {
    const double slowed = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    (*inverse)[i] = (*inverse)[i] / config.rope.factor * slowed + (*inverse)[i] * (1.0 - slowed);
  }
}

double YarnAttentionFactor(const RopeConfig& rope) {
  if (rope.attention_factor != 0.0) return rope.attention_factor;
  const auto magnitude = [&rope](double mscale) {
    return rope.factor <= 1.0 ? 1.0 : 0.1 * mscale * std::log(rope.factor) + 1.0;
  };
  if (rope.mscale != 0.0 && rope.mscale_all_dim != 0.0) return magnitude(rope.mscale) / magnitude(rope.mscale_all_dim);
  return magnitude(1.0);
}

}  // namespace

RopeFrequencies ComputeRopeFrequencies(const ModelConfig& config, int64_t max_model_len) {
  const RopeConfig& rope = config.rope;
  const double theta = rope.type == RopeType::kDynamic ? DynamicTheta(config, max_model_len) : rope.theta;
  RopeFrequencies frequencies;
  frequencies.inverse = PlainFrequencies(theta, config.rotary_dim);
  switch (rope.type) {
    case RopeType::kDefault:
    case RopeType::kDynamic:
      break;
    case RopeType::kLinear:
      for (double& frequency : frequencies.inverse) frequency /= rope.factor;
      break;
    case RopeType::kLlama3:
      ScaleLlama3(config, &frequencies.inverse);
      break;
    case RopeType::kYarn:
      ScaleYarn(config, &frequencies.inverse);
      frequencies.attention_factor = YarnAttentionFactor(rope);
      break;
  }
  for (size_t i = 0; i < rope.frequency_factors.size(); ++i) frequencies.inverse[i] /= rope.frequency_factors[i];
  return frequencies;
}

void FillRopeTables(const RopeFrequencies& frequencies, int64_t max_model_len, float* cos, float* sin) {
  for (int64_t position = 0; position < max_model_len; ++position) {
    for (const double frequency : frequencies.inverse) {
      const double angle = static_cast<double>(position) * frequency;
      *cos++ = static_cast<float>(std::cos(angle) * frequencies.attention_factor);
      *sin++ = static_cast<float>(std::sin(angle) * frequencies.attention_factor);
    }
  }
}

int64_t LongestContext(const ModelConfig& config) {
  const double stretched = static_cast<double>(OriginalPositions(config)) * config.rope.factor;
  switch (config.rope.type) {
    case RopeType::kDefault:
    case RopeType::kLlama3:  // max_positions is the extended context already
      return config.max_positions;
    case RopeType::kLinear:
    case RopeType::kDynamic:
    case RopeType::kYarn:
      return std::max(config.max_positions, static_cast<int64_t>(stretched));
  }
  return config.max_positions;
}

}  // namespace slmmesh
