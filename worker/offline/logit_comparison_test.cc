#include "worker/offline/logit_comparison.h"

#include <gtest/gtest.h>

#include <cmath>

namespace slmmesh {
namespace {

TEST(LogitComparison, OfKnownDistributions) {
  // 1/2, 1/4, 1/4 against 1/4, 1/4, 1/2: each shifted by a constant, which changes nothing.
  const std::vector<float> model = {std::log(2.0f) + 3, 3, 3};
  const std::vector<float> reference = {-100, -100, std::log(2.0f) - 100};
  const RowComparison row = CompareRow(model, reference, 0);
  EXPECT_NEAR(row.log_probability, std::log(0.5), 1e-6);
  EXPECT_NEAR(row.reference_log_probability, std::log(0.25), 1e-6);
  EXPECT_NEAR(row.divergence, 0.25 * std::log(0.25 / 0.5) + 0.5 * std::log(0.5 / 0.25), 1e-6);
  EXPECT_FALSE(row.same_top);
}

TEST(LogitComparison, OfItselfIsZero) {
  const std::vector<float> logits = {80, -80, 79, 3, 80};
  const RowComparison row = CompareRow(logits, logits, 2);
  EXPECT_NEAR(row.divergence, 0, 1e-12);
  EXPECT_TRUE(row.same_top);
}

TEST(LogitComparison, WithoutAReference) {
  const RowComparison row = CompareRow(std::vector<float>{0, 0}, {}, 1);
  EXPECT_NEAR(row.log_probability, std::log(0.5), 1e-12);
  EXPECT_EQ(row.divergence, 0);
}

TEST(LogitComparison, Summary) {
  std::vector<RowComparison> rows(100);
  for (size_t i = 0; i < rows.size(); ++i) {
    rows[i].log_probability = i % 2 == 0 ? std::log(0.5) : std::log(0.125);
    rows[i].reference_log_probability = std::log(0.5);
    rows[i].divergence = static_cast<double>(i);
    rows[i].same_top = i < 30;
  }
  const EvaluationSummary summary = Summarize(rows);
  EXPECT_EQ(summary.tokens, 100);
  EXPECT_NEAR(summary.perplexity, 4, 1e-12);
  EXPECT_NEAR(summary.perplexity_error, 4 * std::log(2.0) / std::sqrt(99.0), 1e-12);
  EXPECT_NEAR(summary.reference_perplexity, 2, 1e-12);
  EXPECT_NEAR(summary.mean_divergence, 49.5, 1e-9);
  EXPECT_NEAR(summary.mean_divergence_error, std::sqrt(101.0 / 12), 1e-9);
  EXPECT_EQ(summary.divergence_p99, 98);
  EXPECT_EQ(summary.max_divergence, 99);
  EXPECT_NEAR(summary.same_top_share, 0.3, 1e-12);
  EXPECT_EQ(Summarize({}).tokens, 0);
}

}  // namespace
}  // namespace slmmesh
