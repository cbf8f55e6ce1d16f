// What a copy of a model takes from its original: its last layers, and the head of the likeliest tokens.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "worker/model/model.h"
#include "worker/model/testing/one_block.h"
#include "worker/model/testing/random_checkpoint.h"

namespace slmmesh {
namespace {

using ::testing::HasSubstr;

ModelConfig SmallConfig() { return SmallModelConfig(3); }

class CopyTest : public testing::Test {
 protected:
  // The logits of the first and the last of three tokens.
  std::vector<float> LogitsOf(const ModelOptions& options) {
    const std::unique_ptr<Model> model = *Model::Load(original_, backend_.get(), options);
    std::vector<float> logits = *RunOneBlock(*model, *model, {0, 2});
    EXPECT_EQ(logits.size(), 2 * kVocab);
    return logits;
  }

  static ModelOptions Copy(const CopyOptions& copy) {
    ModelOptions options;
    options.weights = *ParseWeights("int4");
    options.copy = copy;
    return options;
  }

  const size_t kVocab = SmallConfig().vocab_size;
  const std::shared_ptr<RandomCheckpoint> original_ = std::make_shared<RandomCheckpoint>(SmallConfig(), 1);
  const std::unique_ptr<kernels::Backend> backend_ = kernels::CreateCpuBackend({.threads = 1});
};

TEST_F(CopyTest, ItsLastLayersAreTheOriginals) {
  const std::vector<float> original = LogitsOf({});
  std::vector<double> errors;  // by how many layers are
  for (int64_t layers = 0; layers <= SmallConfig().num_layers; ++layers) {
    const std::vector<float> logits = LogitsOf(Copy({.original = original_, .fine_layers = layers}));
    double error = 0;
    for (size_t i = 0; i < logits.size(); ++i) error += std::abs(logits[i] - original[i]);
    errors.push_back(error);
  }
  EXPECT_TRUE(std::is_sorted(errors.rbegin(), errors.rend())) << testing::PrintToString(errors);
  EXPECT_LT(2 * errors.back(), errors.front()) << "what is left are the head's";
}

// Also where the copy's own weights are other ones.
TEST_F(CopyTest, ReadsThemFromTheOriginal) {
  const auto another = std::make_shared<RandomCheckpoint>(SmallConfig(), 1);
  for (float& value : another->values("model.layers.2.mlp.down_proj.weight")) value = -value;
  EXPECT_NE(LogitsOf(Copy({.original = original_, .fine_layers = 1})),
            LogitsOf(Copy({.original = another, .fine_layers = 1})));
}

// That what is changed becomes exact is held in likeliest_logits_test.
TEST_F(CopyTest, RefinesTheLargestLogitsOfEachRow) {
  constexpr int64_t kRefined = 3;
  const std::vector<float> coarse = LogitsOf(Copy({.original = original_}));
  const std::vector<float> refined = LogitsOf(Copy({.original = original_, .refined_logits = kRefined}));
  for (size_t row = 0; row < 2; ++row) {
    int64_t changed = 0;
    for (size_t i = row * kVocab; i < (row + 1) * kVocab; ++i) {
      if (coarse[i] == refined[i]) continue;
      ++changed;
      const auto larger = [&](float logit) { return logit > coarse[i]; };
      EXPECT_LT(std::count_if(coarse.begin() + row * kVocab, coarse.begin() + (row + 1) * kVocab, larger), kRefined);
    }
    EXPECT_EQ(changed, kRefined);
  }
}

TEST_F(CopyTest, RefusesAnOriginalOfAnotherShape) {
  ModelConfig config = SmallConfig();
  config.intermediate_size = 96;
  const auto another = std::make_shared<RandomCheckpoint>(config, 1);
  const absl::Status status = Model::Load(original_, backend_.get(), Copy({.original = another})).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("must have its shape"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("intermediate_size is 64, in the original 96"));
}

}  // namespace
}  // namespace slmmesh
