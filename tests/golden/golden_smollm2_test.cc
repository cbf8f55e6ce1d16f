// The shipped model, as the GGUF file that it is, against transformers in float32. The file is not in the repository:
// the test looks in $MESH_MODEL_DIR, then in models/, and is skipped without it.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "tests/golden/replay.h"
#include "tests/golden/tolerance.h"

namespace slmmesh {
namespace {

std::string ModelPath() {
  const char* folder = std::getenv("MESH_MODEL_DIR");
  return absl::StrCat(folder != nullptr ? folder : MESH_SOURCE_DIR "/models", "/SmolLM2-135M-Instruct.Q4_1.gguf");
}

class GoldenSmolLm2Test : public testing::TestWithParam<const char*> {};  // --weights

TEST_P(GoldenSmolLm2Test, AgreesWithTransformers) {
  if (!std::filesystem::exists(ModelPath())) {
    GTEST_SKIP() << "there is no " << ModelPath() << ": `make model` fetches it, MESH_MODEL_DIR names another folder";
  }
  auto opened = Checkpoint::Open(ModelPath());
  ASSERT_TRUE(opened.ok()) << opened.status();
  const std::shared_ptr<const Checkpoint> checkpoint = *std::move(opened);
  const size_t vocab = static_cast<size_t>(checkpoint->config().vocab_size);
  std::ifstream file(MESH_SOURCE_DIR "/tests/golden/smollm2.json");
  const nlohmann::json oracle = nlohmann::json::parse(file);
  const std::vector<uint32_t> spread_ids = oracle.at("spread_ids");

  for (const nlohmann::json& sequence : oracle.at("sequences")) {
    const std::vector<uint32_t> prompt = sequence.at("prompt");
    std::vector<uint32_t> forced = sequence.at("greedy");
    forced.pop_back();  // nothing is asked of the last token's logits
    std::vector<uint32_t> rows;
    for (size_t step = 0; step <= forced.size(); ++step)
      rows.push_back(static_cast<uint32_t>(prompt.size() - 1 + step));
    ReplayOptions options;
    options.weights = *ParseWeights(GetParam());
    options.max_model_len = 256;
    const auto ours = Replay(checkpoint, options, prompt, forced, rows);
    ASSERT_TRUE(ours.ok()) << ours.status();

    double largest_error = 0.0;
    double largest_tolerance = 0.0;
    int held = 0;
    for (size_t step = 0; step < rows.size(); ++step) {
      SCOPED_TRACE(absl::StrCat("step ", step));
      const nlohmann::json& row = sequence.at("rows").at(step);
      const double tolerance = LogitTolerance(checkpoint->config(), options.weights, row.at("std"));
      const float* logits = ours->data() + step * vocab;
      const std::vector<uint32_t> top_ids = row.at("top_ids");
      const std::vector<double> top_logits = row.at("top_logits");
      const std::vector<double> spread_logits = row.at("spread_logits");
      const auto compare = [&](uint32_t id, double theirs) {
        const double error = std::abs(logits[id] - theirs);
        EXPECT_LE(error, tolerance) << "logit of token " << id;
        largest_error = std::max(largest_error, error);
      };
      for (size_t i = 0; i < top_ids.size(); ++i) compare(top_ids[i], top_logits[i]);
      for (size_t i = 0; i < spread_ids.size(); ++i) compare(spread_ids[i], spread_logits[i]);
      largest_tolerance = std::max(largest_tolerance, tolerance);
      if (top_logits[0] - top_logits[1] <= 2.0 * tolerance) continue;
      EXPECT_EQ(std::max_element(logits, logits + vocab) - logits, top_ids[0]);
      ++held;
    }
    std::cout << "largest error " << largest_error << " of " << largest_tolerance << ", " << held << " of "
              << rows.size() << " tokens held\n";
  }
}

INSTANTIATE_TEST_SUITE_P(Weights, GoldenSmolLm2Test, testing::Values("fp32", "bf16", "auto", "int8"),
                         [](const testing::TestParamInfo<const char*>& info) { return info.param; });

}  // namespace
}  // namespace slmmesh
