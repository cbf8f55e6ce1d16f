// How far logits may lie from a float32 reference, derived from the type and the shape, not from what was measured.
//
// One product: its output is a sum of K terms. Rounding errors are as good as random. Rounding every term to relative
// precision u (an error uniform in [-u, u]: u / sqrt(3) in the mean square) costs u / sqrt(3) of the output's root mean
// square whatever K is, since the sum and its error both grow by sqrt(K). Rounding the running sum costs the same once
// per addition, of partial sums that are half as large in the mean square: sqrt(K / 2) * u / sqrt(3).
//
// The whole: a layer has four products in a row (qkv, output, gate and up, down) and about as many steps between them
// (softmax, norms, SiLU, rotation); the head is one more. Their errors add in squares: sqrt(9) of the above, relative
// to what a layer adds to the residual stream. The stream is the sum of what the layers add, so relative to the stream
// the errors that enter are the same for any number of layers. Later layers amplify those of earlier ones (softmax and
// SiLU are steep in places): a factor of 3 is allowed. The largest of n normal errors stays under 5.5 deviations for n
// up to ten million.
//
//   float32: u = 2^-24; the reference rounds its sums too, in another order: sqrt(2) of one side's error.
//   bf16:    u = 2^-8; a term has two rounded factors (weights, unless the file's are bf16; activations; keys and
//            values): sqrt(2) of one factor's error.
//   integers: an activation is off by up to a / 254 where a is the largest of its row and leaf: a / 254 / sqrt(3) in
//   the
//            mean square, and a is taken for at most 10 times their root mean square. Weights quantized by row add as
//            much again with 6 for 10 (nearly normal; the largest of a few thousand is about 4); stored quants are
//            exact.
//
// As a check of this reasoning: transformers in float32 with the inputs and weights of its linear layers and its keys
// and values rounded to bf16 is off by up to two thirds of the bf16 tolerance on the tiny models.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>

#include "worker/checkpoint/model_config.h"
#include "worker/model/matrix_format.h"

namespace slmmesh {

inline double LogitTolerance(const ModelConfig& config, const WeightOptions& weights, double logit_deviation) {
  constexpr double kSteps = 3.0;  // sqrt(9)
  constexpr double kAmplification = 3.0;
  constexpr double kLargestOfMany = 5.5;
  const double longest_sum = static_cast<double>(
      std::max({config.hidden_size, config.intermediate_size, config.num_q_heads * config.head_dim}));
  const double float_sums = std::sqrt(2.0 / 3.0) * std::ldexp(1.0, -24) * std::sqrt(longest_sum / 2.0);
  const double bf16_terms = std::sqrt(2.0 / 3.0) * std::ldexp(1.0, -8);
  const double activations = 10.0 / 254.0 / std::sqrt(3.0);
  const double rows_of_int8 = std::hypot(activations, 6.0 / 254.0 / std::sqrt(3.0));
  const std::string name = WeightsName(weights);
  const double one_step = name == "fp32"   ? float_sums
                          : name == "bf16" ? bf16_terms + float_sums
                          : name == "auto" ? activations  // of a file that stores integers
                                           : rows_of_int8;
  return one_step * kSteps * kAmplification * kLargestOfMany * logit_deviation;
}

}  // namespace slmmesh
