// Tiny random models of every family and rope type, on every instruction set, against transformers in float32.

#include <gtest/gtest.h>

#include <algorithm>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "tests/golden/oracle.h"
#include "tests/golden/replay.h"
#include "tests/golden/tolerance.h"

namespace slmmesh {
namespace {

using Row = absl::Span<const float>;

uint32_t Likeliest(Row logits) {
  return static_cast<uint32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

// The distance from the largest to the second largest.
double Margin(Row logits) {
  std::vector<float> sorted(logits.begin(), logits.end());
  std::nth_element(sorted.begin(), sorted.begin() + 1, sorted.end(), std::greater<>());
  return sorted[0] - sorted[1];
}

struct Comparison {
  double largest_error = 0.0;
  int greedy_rows = 0;  // rows whose margin is wide enough to demand the same token
};

void CompareRow(Row ours, Row theirs, double tolerance, Comparison* comparison) {
  for (size_t i = 0; i < theirs.size(); ++i) {
    const double error = std::abs(static_cast<double>(ours[i]) - theirs[i]);
    ASSERT_LE(error, tolerance) << "logit of token " << i;
    comparison->largest_error = std::max(comparison->largest_error, error);
  }
  if (Margin(theirs) <= 2.0 * tolerance) return;
  EXPECT_EQ(Likeliest(ours), Likeliest(theirs));
  ++comparison->greedy_rows;
}

class GoldenModelsTest : public testing::TestWithParam<std::tuple<std::string, kernels::Isa, kernels::WeightType>> {};

TEST_P(GoldenModelsTest, AgreesWithTransformers) {
  const auto& [name, isa, weights] = GetParam();
  auto opened = Checkpoint::Open(GoldenModelPath(name));
  ASSERT_TRUE(opened.ok()) << opened.status();
  const std::shared_ptr<const Checkpoint> checkpoint = *std::move(opened);
  const size_t vocab = static_cast<size_t>(checkpoint->config().vocab_size);

  for (const OracleSequence& sequence : ReadOracle(name)) {
    ReplayOptions options;
    options.cpu = {.threads = 1, .automatic_isa = false, .isa = isa};
    options.weights = weights;
    options.max_model_len = sequence.max_model_len;
    std::vector<uint32_t> forced = sequence.greedy;
    if (!forced.empty()) forced.pop_back();  // nothing is asked of the last token's logits
    const auto ours = Replay(checkpoint, options, sequence.prompt, forced, sequence.rows);
    ASSERT_TRUE(ours.ok()) << ours.status();
    ASSERT_EQ(ours->size(), sequence.logits.size());

    const double tolerance = LogitTolerance(checkpoint->config(), weights, sequence.logit_deviation);
    Comparison comparison;
    for (size_t row = 0; row < sequence.rows.size(); ++row) {
      SCOPED_TRACE(absl::StrCat("position ", sequence.rows[row]));
      CompareRow({ours->data() + row * vocab, vocab}, {sequence.logits.data() + row * vocab, vocab}, tolerance,
                 &comparison);
      if (HasFatalFailure()) return;
    }
    // Were no margin wider than the tolerance, equal tokens would prove nothing.
    const double least_held = weights == kernels::WeightType::kFloat32 ? 0.9 : 0.2;
    EXPECT_GE(comparison.greedy_rows, least_held * static_cast<double>(sequence.rows.size()));
    RecordProperty("largest_error", absl::StrCat(comparison.largest_error));
    std::cout << "largest error " << comparison.largest_error << " of " << tolerance << ", " << comparison.greedy_rows
              << " of " << sequence.rows.size() << " tokens held\n";
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, GoldenModelsTest,
    testing::Combine(testing::ValuesIn(GoldenModelNames()), testing::ValuesIn(kernels::SupportedIsas()),
                     testing::Values(kernels::WeightType::kFloat32, kernels::WeightType::kBFloat16)),
    [](const testing::TestParamInfo<GoldenModelsTest::ParamType>& info) {
      const bool fp32 = std::get<2>(info.param) == kernels::WeightType::kFloat32;
      return absl::StrCat(std::get<0>(info.param), "_", kernels::IsaName(std::get<1>(info.param)),
                          fp32 ? "_fp32" : "_bf16");
    });

}  // namespace
}  // namespace slmmesh
