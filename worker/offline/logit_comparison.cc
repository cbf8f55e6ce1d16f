#include "worker/offline/logit_comparison.h"

#include <assert.h>

#include <algorithm>
#include <cmath>

namespace slmmesh {
namespace {

// log(sum(exp(x)))
double LogSum(absl::Span<const float> logits) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - largest);
  return largest + std::log(sum);
}

struct Mean {
  double value = 0;
  double error = 0;  // standard error
};

template <typename Value>
Mean MeanOf(const std::vector<RowComparison>& rows, const Value& value) {
  const auto count = static_cast<double>(rows.size());
  Mean mean;
  for (const RowComparison& row : rows) mean.value += value(row) / count;
  double square = 0;
  for (const RowComparison& row : rows) square += (value(row) - mean.value) * (value(row) - mean.value);
  if (rows.size() > 1) mean.error = std::sqrt(square / (count - 1) / count);
  return mean;
}

}  // namespace

RowComparison CompareRow(absl::Span<const float> logits, absl::Span<const float> reference, uint32_t target) {
  assert(target < logits.size() && (reference.empty() || reference.size() == logits.size()));
  RowComparison row;
  const double log_sum = LogSum(logits);
  row.log_probability = static_cast<double>(logits[target]) - log_sum;
  if (reference.empty()) return row;
  const double reference_log_sum = LogSum(reference);
  row.reference_log_probability = static_cast<double>(reference[target]) - reference_log_sum;
  for (size_t i = 0; i < logits.size(); ++i) {
    const double p = static_cast<double>(reference[i]) - reference_log_sum;
    const double q = static_cast<double>(logits[i]) - log_sum;
    row.divergence += std::exp(p) * (p - q);
  }
  row.divergence = std::max(row.divergence, 0.0);  // it is never negative, but for rounding
  row.same_top = std::max_element(logits.begin(), logits.end()) - logits.begin() ==
                 std::max_element(reference.begin(), reference.end()) - reference.begin();
  return row;
}

EvaluationSummary Summarize(const std::vector<RowComparison>& rows) {
  EvaluationSummary summary;
  summary.tokens = static_cast<int64_t>(rows.size());
  if (rows.empty()) return summary;
  const Mean log = MeanOf(rows, [](const RowComparison& row) { return -row.log_probability; });
  summary.perplexity = std::exp(log.value);
  summary.perplexity_error = summary.perplexity * log.error;
  summary.reference_perplexity =
      std::exp(MeanOf(rows, [](const RowComparison& row) { return -row.reference_log_probability; }).value);
  const Mean divergence = MeanOf(rows, [](const RowComparison& row) { return row.divergence; });
  summary.mean_divergence = divergence.value;
  summary.mean_divergence_error = divergence.error;
  const auto same = std::count_if(rows.begin(), rows.end(), [](const RowComparison& row) { return row.same_top; });
  summary.same_top_share = static_cast<double>(same) / static_cast<double>(rows.size());
  std::vector<double> sorted;
  for (const RowComparison& row : rows) sorted.push_back(row.divergence);
  std::sort(sorted.begin(), sorted.end());
  summary.max_divergence = sorted.back();
  summary.divergence_p99 = sorted[(sorted.size() - 1) * 99 / 100];
  return summary;
}

}  // namespace slmmesh
