// Log-probabilities as OpenAI's and vLLM's: the log-softmax of the raw logits, before bias, penalties, temperature and
// filters.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace slmmesh {

struct TokenAndLogprob {
  uint32_t token = 0;
  float logprob = 0;
};

// Of one row; keeps a view of it. The sum runs over 16 lanes and a tree: the same bits on every machine.
class RowLogprobs {
 public:
  explicit RowLogprobs(absl::Span<const float> logits);

  float Of(uint32_t token) const;
  // The `count` likeliest, descending; the lower id first of equals.
  std::vector<TokenAndLogprob> Top(uint32_t count) const;

 private:
  absl::Span<const float> logits_;
  std::vector<float> maxima_;
  double log_sum_ = 0;  // log Σ exp(logit)
};

}  // namespace slmmesh
