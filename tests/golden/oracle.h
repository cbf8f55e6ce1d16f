// Reads what the generators wrote: transformers' word on a model, against which tests hold ours.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace slmmesh {

struct OracleSequence {
  std::vector<uint32_t> prompt;
  std::vector<uint32_t> greedy;  // what follows the prompt when the likeliest token is always taken
  std::vector<uint32_t> rows;    // positions of prompt + greedy whose logits are kept, ascending
  int64_t max_model_len = 0;
  std::vector<float> logits;     // [rows, vocab_size]
  double logit_deviation = 0.0;  // standard deviation of `logits`
};

// tests/golden/models/NAME.
std::string GoldenModelPath(const std::string& name);
std::vector<std::string> GoldenModelNames();

// Throws on a broken file: these are the project's own.
std::vector<OracleSequence> ReadOracle(const std::string& model_name);

double StandardDeviation(const std::vector<float>& values);

}  // namespace slmmesh
