// What a model's logits say about a text, and how far they are from a reference's. One thread adds.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace slmmesh {

struct RowComparison {
  double log_probability = 0;            // natural, of the token that came
  double reference_log_probability = 0;  // the same by the reference
  double divergence = 0;                 // KL(reference || model), in nats
  bool same_top = false;                 // both would choose the same token (the lowest id of equal ones)
};

// One position. Both rows are over the whole vocabulary; an empty reference leaves its fields 0.
RowComparison CompareRow(absl::Span<const float> logits, absl::Span<const float> reference, uint32_t target);

struct EvaluationSummary {
  int64_t tokens = 0;  // that were predicted
  double perplexity = 0;
  double perplexity_error = 0;  // standard error
  double reference_perplexity = 0;
  double mean_divergence = 0;
  double mean_divergence_error = 0;  // standard error
  double divergence_p99 = 0;
  double max_divergence = 0;
  double same_top_share = 0;
};
EvaluationSummary Summarize(const std::vector<RowComparison>& rows);

}  // namespace slmmesh
