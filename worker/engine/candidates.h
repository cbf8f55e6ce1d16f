// The tokens that may still be chosen, and the filters that thin them out. Each filter is a threshold, so tokens of
// equal probability stay or go together and the outcome does not depend on any order.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "worker/engine/leading_token.h"
#include "worker/engine/noise.h"

namespace slmmesh {

// Not thread-safe. Reused from row to row, so that nothing is allocated per token.
class Candidates {
 public:
  // All tokens of the row, at (logit - max_logit) / temperature: the likeliest stands at 0.
  void Reset(absl::Span<const float> logits, float max_logit, float temperature);

  // Keeps tokens of at least min_p times the likeliest token's probability. 0 < min_p ≤ 1.
  void FilterMinP(float min_p);
  // Keeps the k likeliest, and what ties with the last of them. k ≥ 1.
  void FilterTopK(uint32_t k);
  // Keeps a token when the tokens likelier than it hold less than top_p of the mass. 0 < top_p < 1. Probabilities are
  // rounded to 2^-30 of the largest, so that their sums are exact in any order.
  void FilterTopP(float top_p);

  // Gumbel-max: the token with the highest scaled logit plus noise; the lowest id of equals. That draws from the
  // softmax of what is left.
  LeadingToken Choose(NoiseKey key) const;

  absl::Span<const uint32_t> ids() const { return {ids_.data(), size_}; }
  absl::Span<const float> scaled() const { return {scaled_.data(), size_}; }

 private:
  void FilterByScaled(float floor);
  void FilterByWeight(int32_t floor);
  void PadLastChunk();

  // Both hold size_ entries, ascending by id, then padding up to a whole chunk that can never be chosen.
  std::vector<uint32_t> ids_;
  std::vector<float> scaled_;
  std::vector<int32_t> weights_;  // while FilterTopP works
  std::vector<int32_t> remaining_weights_;
  std::vector<float> maxima_, values_;
  size_t size_ = 0;
};

}  // namespace slmmesh
