#include "worker/offline/calibration.h"

#include <cmath>

#include "common/temporary_folder.h"
#include "worker/checkpoint/testing/random_model.h"
#include "worker/checkpoint/testing/status_matchers.h"
#include "worker/offline/convert.h"
#include "worker/offline/evaluate.h"
#include "worker/offline/text_tokens.h"

namespace slmmesh {
namespace {

class CalibrationTest : public testing::Test {
 protected:
  void SetUp() override {
    ModelConfig config = TinyConfig(Architecture::kLlama);
    config.intermediate_size = 128;
    model_ = folder_.Write("m.gguf", RandomGguf(config, TensorType::kBF16, 1));
    options_.text = WriteText("calibration", 1);
    options_.context = 32;
    options_.threads = 2;
  }

  // Letters of the model's vocabulary in no order.
  std::string WriteText(const std::string& name, uint64_t seed) {
    std::mt19937_64 random(seed);
    std::string text;
    for (int i = 0; i < 2000; ++i) text += "aabbc1 "[random() % 7];
    return folder_.Write(name, text);
  }

  const TemporaryFolder folder_;
  std::string model_;
  CalibrationOptions options_;
};

// The first layer's input is known: the tokens' embeddings, normed.
TEST_F(CalibrationTest, MomentsOfTheFirstLayer) {
  std::shared_ptr<const Checkpoint> checkpoint = *Checkpoint::Open(model_);
  const auto calibration = Calibration::Create(checkpoint, options_);
  ASSERT_OK(calibration);
  const auto moments = (*calibration)->Moments(0, ProjectionInput::kAttention);
  ASSERT_OK(moments);

  std::vector<double> expected(64 * 64);
  float norm[64];
  ReadTensor(*checkpoint->Find("model.layers.0.input_layernorm.weight", {64}), 0, 1, 0, 64, norm);
  const TextTokens text = *ReadTextTokens(options_.text, *checkpoint, options_.tokens);
  const size_t used = text.tokens.size() / 32 * 32;  // whole windows
  for (size_t t = 0; t < used; ++t) {
    float x[64];
    const int64_t token = text.tokens[t];
    ReadTensor(*checkpoint->Find("model.embed_tokens.weight", {40, 64}), token, token + 1, 0, 64, x);
    double square = 0;
    for (const float value : x) square += static_cast<double>(value) * value / 64;
    const double factor = 1 / std::sqrt(square + checkpoint->config().rms_norm_epsilon);
    for (int i = 0; i < 64; ++i) {
      for (int j = 0; j < 64; ++j) expected[i * 64 + j] += x[i] * norm[i] * factor * x[j] * norm[j] * factor;
    }
  }
  for (size_t i = 0; i < expected.size(); ++i)
    ASSERT_NEAR((**moments)[i], expected[i], 1e-5 * static_cast<double>(used));
}

TEST_F(CalibrationTest, OneLayerAtATimeGivesTheSame) {
  std::shared_ptr<const Checkpoint> checkpoint = *Checkpoint::Open(model_);
  const auto all = Calibration::Create(checkpoint, options_);
  options_.max_bytes = 1;
  const auto single = Calibration::Create(checkpoint, options_);
  ASSERT_OK(all);
  ASSERT_OK(single);
  for (int64_t layer = 0; layer < 2; ++layer) {
    for (int input = 0; input < kNumProjectionInputs; ++input) {
      const auto a = (*all)->Moments(layer, static_cast<ProjectionInput>(input));
      const auto b = (*single)->Moments(layer, static_cast<ProjectionInput>(input));
      ASSERT_OK(a);
      ASSERT_OK(b);
      EXPECT_EQ(**a, **b) << layer << " " << input;
      EXPECT_EQ((*a)->size(), input == 3 ? 128u * 128 : 64u * 64);
    }
  }
}

TEST_F(CalibrationTest, RefusesAShortText) {
  std::shared_ptr<const Checkpoint> checkpoint = *Checkpoint::Open(model_);
  options_.text = folder_.Write("short", "ab");
  EXPECT_REFUSED(Calibration::Create(checkpoint, options_), "short", "at least 32");
}

// On another text than that which was read.
TEST_F(CalibrationTest, AConvertedModelIsCloserToItsSource) {
  EvaluateOptions evaluate;
  evaluate.reference = model_;
  evaluate.text = WriteText("other", 2);
  evaluate.weights = evaluate.reference_weights = kernels::WeightType::kFloat32;
  evaluate.context = 64;
  evaluate.cpu.threads = 2;
  double divergence[2] = {};
  for (const int way : {0, 1}) {
    ConvertOptions convert;
    convert.input = model_;
    convert.output = folder_ / (way == 0 ? "nearest" : "calibrated");
    if (way == 1) convert.calibration_text = options_.text;
    ASSERT_OK(Convert(convert));
    evaluate.model = convert.output;
    const auto summary = Evaluate(evaluate);
    ASSERT_OK(summary);
    divergence[way] = summary->mean_divergence;
  }
  EXPECT_LT(divergence[1], 0.7 * divergence[0]) << divergence[0];
}

TEST_F(CalibrationTest, IsForIntegersAlone) {
  ConvertOptions convert;
  convert.input = model_;
  convert.output = folder_ / "out";
  convert.weights = StoredWeights::kFp8;
  convert.calibration_text = options_.text;
  EXPECT_REFUSED(Convert(convert), "--calibrate", "int4 or int8", "fp8");
}

}  // namespace
}  // namespace slmmesh
