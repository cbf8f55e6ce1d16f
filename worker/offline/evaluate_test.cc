#include "worker/offline/evaluate.h"

#include <cmath>

#include "common/temporary_folder.h"
#include "worker/checkpoint/testing/random_model.h"
#include "worker/checkpoint/testing/status_matchers.h"
#include "worker/offline/text_tokens.h"
#include "worker/offline/window_runner.h"

namespace slmmesh {
namespace {

constexpr int64_t kContext = 48;

// A tiny model, and a text that is made of its vocabulary.
class EvaluateTest : public testing::Test {
 protected:
  void SetUp() override {
    options_.model = folder_.Write("m.gguf", RandomGguf(TinyConfig(Architecture::kLlama), TensorType::kF32, 1));
    std::string text;
    for (int i = 0; i < 60; ++i) text += i % 3 == 0 ? "abc" : i % 5 == 0 ? " a" : "ca1b";
    options_.text = folder_.Write("text", text);
    options_.weights = kernels::WeightType::kFloat32;
    options_.reference_weights = kernels::WeightType::kFloat32;
    options_.context = kContext;
    options_.tokens = 1000;
    options_.cpu.threads = 2;
  }

  const TemporaryFolder folder_;
  EvaluateOptions options_;
};

// Each window in one step, and the definition of perplexity.
TEST_F(EvaluateTest, PerplexityOfTheSecondHalves) {
  std::shared_ptr<const Checkpoint> checkpoint = *Checkpoint::Open(options_.model);
  const auto text = ReadTextTokens(options_.text, *checkpoint, options_.tokens);
  ASSERT_OK(text);
  ASSERT_TRUE(text->prefix.empty());
  ASSERT_GE(text->tokens.size(), 3 * static_cast<size_t>(kContext));
  const auto backend = kernels::CreateCpuBackend(options_.cpu);
  const auto runner = WindowRunner::Create(checkpoint, backend.get(), options_.weights, kContext);
  ASSERT_OK(runner);
  double sum = 0;
  int64_t count = 0;
  for (size_t begin = 0; begin + kContext <= text->tokens.size(); begin += kContext) {
    const absl::Span<const uint32_t> window = absl::MakeConstSpan(text->tokens).subspan(begin, kContext);
    const auto logits = (*runner)->Run(window, 0, kContext);
    ASSERT_OK(logits);
    const size_t vocabulary = logits->size() / kContext;
    for (size_t position = kContext / 2; position + 1 < kContext; ++position, ++count) {
      const float* row = logits->data() + position * vocabulary;
      double all = 0;
      for (size_t i = 0; i < vocabulary; ++i) all += std::exp(static_cast<double>(row[i]));
      sum -= row[window[position + 1]] - std::log(all);
    }
  }
  const auto summary = Evaluate(options_);
  ASSERT_OK(summary);
  EXPECT_EQ(summary->tokens, count);
  EXPECT_NEAR(summary->perplexity, std::exp(sum / static_cast<double>(count)), 1e-5 * summary->perplexity);
}

TEST_F(EvaluateTest, NoDistanceToItself) {
  options_.reference = options_.model;
  const auto summary = Evaluate(options_);
  ASSERT_OK(summary);
  EXPECT_EQ(summary->perplexity, summary->reference_perplexity);
  EXPECT_LT(summary->max_divergence, 1e-9);
  EXPECT_EQ(summary->same_top_share, 1);
}

TEST_F(EvaluateTest, CoarserWeightsAreFurtherAway) {
  options_.reference = options_.model;
  double last = 0;
  for (const char* weights : {"bf16", "int8", "int4"}) {
    options_.weights = *ParseWeights(weights);
    const auto summary = Evaluate(options_);
    ASSERT_OK(summary);
    EXPECT_GT(summary->mean_divergence, last) << weights;
    last = summary->mean_divergence;
  }
  EXPECT_LT(last, 0.1);
}

TEST_F(EvaluateTest, RefusesWhatDoesNotFit) {
  options_.context = 129;
  EXPECT_REFUSED(Evaluate(options_), "--context is 129", "16 to 128");
  options_.context = 64;
  options_.tokens = 63;
  EXPECT_REFUSED(Evaluate(options_), "--tokens is 63", "--context, 64");
  options_.tokens = 64;
  options_.text = folder_.Write("short", "abc");
  EXPECT_REFUSED(Evaluate(options_), "short", "has 1 tokens");
  options_.text = folder_ / "absent";
  EXPECT_EQ(Evaluate(options_).status().code(), absl::StatusCode::kNotFound);
  options_.text = folder_.Write("not-utf8", std::string(400, '\xff'));
  EXPECT_REFUSED(Evaluate(options_), "not-utf8");
  SetUp();
  ModelConfig larger = TinyConfig(Architecture::kLlama);
  larger.vocab_size = 41;
  options_.reference = folder_.Write("larger.gguf", RandomGguf(larger, TensorType::kF32, 1));
  EXPECT_REFUSED(Evaluate(options_), "vocabulary of 41", "40");
}

// A text that is cut within a character is cut before it.
TEST_F(EvaluateTest, CutsWholeCharacters) {
  std::shared_ptr<const Checkpoint> checkpoint = *Checkpoint::Open(options_.model);
  for (const size_t letters : {13u, 14u, 15u, 16u}) {
    const std::string path = folder_.Write("text", std::string(letters, 'a') + "ééé");
    SCOPED_TRACE(letters);
    ASSERT_OK(ReadTextTokens(path, *checkpoint, 1));
  }
}

}  // namespace
}  // namespace slmmesh
