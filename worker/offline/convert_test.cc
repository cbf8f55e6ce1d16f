#include "worker/offline/convert.h"

#include <cmath>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "common/files.h"
#include "common/temporary_folder.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/checkpoint/testing/random_model.h"
#include "worker/checkpoint/testing/status_matchers.h"

namespace slmmesh {
namespace {

// Columns that are multiples of 32.
ModelConfig SmallConfig() {
  ModelConfig config = TinyConfig(Architecture::kLlama);
  config.intermediate_size = 128;
  return config;
}

void WriteModel(const TemporaryFolder& folder, TensorType type = TensorType::kBF16) {
  folder.Write("config.json", ConfigJson(SmallConfig()));
  folder.Write("tokenizer.json", "{}");
  folder.Write("generation_config.json", R"({"temperature": 0.5})");
  folder.Write("LICENSE", "words");
  folder.Write("training_args.bin", "not copied");
  folder.Write("model.safetensors", RandomSafetensors(SmallConfig(), type, 1));
}

ConvertOptions Options(const TemporaryFolder& folder, const std::string& output, StoredWeights weights) {
  ConvertOptions options;
  options.input = folder.path();
  options.output = folder / output;
  options.weights = weights;
  options.threads = 3;
  return options;
}

std::string Bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream bytes;
  bytes << file.rdbuf();
  return bytes.str();
}

std::vector<float> ReadAll(const Checkpoint& checkpoint, const std::string& name, const std::vector<int64_t>& shape) {
  const auto tensor = checkpoint.Find(name, shape);
  EXPECT_TRUE(tensor.ok()) << tensor.status();
  if (!tensor.ok()) return {};
  std::vector<float> values(static_cast<size_t>(tensor->rows() * tensor->columns()));
  ReadTensor(*tensor, 0, tensor->rows(), 0, tensor->columns(), values.data());
  return values;
}

// Root of the mean squared difference, over the root of the mean square.
double RelativeError(const std::vector<float>& values, const std::vector<float>& source) {
  double error = 0, square = 0;
  for (size_t i = 0; i < source.size(); ++i) {
    error += std::pow(static_cast<double>(values[i]) - source[i], 2);
    square += std::pow(static_cast<double>(source[i]), 2);
  }
  return std::sqrt(error / square);
}

struct Expectation {
  StoredWeights weights;
  int64_t group;
  double error;  // of uniform values: a step's width over the square root of 12, over the root of a third
  std::optional<kernels::WeightFormat> format;
};

TEST(Convert, EveryFormatIsReadBackCloseToItsSource) {
  using kernels::ScaleType;
  using kernels::WeightFormat;
  using kernels::WeightType;
  const TemporaryFolder folder;
  WriteModel(folder);
  const auto source = Checkpoint::Open(folder.path());
  ASSERT_OK(source);
  const Expectation kExpectations[] = {
      {StoredWeights::kInt4, -1, 0.085, WeightFormat(WeightType::kInt4, 64, ScaleType::kFloat16, false)},
      {StoredWeights::kInt4, 32, 0.085, WeightFormat(WeightType::kInt4, 32, ScaleType::kFloat16, false)},
      {StoredWeights::kInt8, -1, 0.0045, WeightFormat(WeightType::kInt8, 0, ScaleType::kFloat32, false)},
      {StoredWeights::kInt8, 16, 0.0045, WeightFormat(WeightType::kInt8, 16, ScaleType::kFloat16, false)},
      {StoredWeights::kFp8, -1, 0.03, std::nullopt}};
  int number = 0;
  for (const Expectation& expected : kExpectations) {
    SCOPED_TRACE(number);
    ConvertOptions options = Options(folder, absl::StrCat("out-", number++), expected.weights);
    options.group = expected.group;
    ASSERT_OK(Convert(options));
    const auto converted = Checkpoint::Open(options.output);
    ASSERT_OK(converted);
    EXPECT_EQ((*converted)->generation().temperature, 0.5f);
    for (const auto& [name, shape] : ExpectedTensors(SmallConfig())) {
      SCOPED_TRACE(name);
      const std::vector<float> was = ReadAll(**source, name, shape);
      const std::vector<float> is = ReadAll(**converted, name, shape);
      if (absl::EndsWith(name, "_proj.weight")) {
        EXPECT_EQ(NativeFormat(*(*converted)->Find(name, shape)), expected.format);
        EXPECT_LT(RelativeError(is, was), expected.error);
        EXPECT_GT(RelativeError(is, was), expected.error / 4);
      } else {
        EXPECT_EQ(is, was);
      }
    }
  }
}

TEST(Convert, WritesAManifestAndCopiesWhatServingNeeds) {
  const TemporaryFolder folder;
  WriteModel(folder);
  const ConvertOptions options = Options(folder, "out", StoredWeights::kInt4);
  ASSERT_OK(Convert(options));
  std::vector<std::string> names;
  for (const absl::string_view line :
       absl::StrSplit(Bytes(options.output + "/MANIFEST.sha256"), '\n', absl::SkipEmpty())) {
    const std::vector<std::string> parts = absl::StrSplit(line, "  ");
    ASSERT_EQ(parts.size(), 2u);
    EXPECT_EQ(parts[0], *Sha256HexOfFile(options.output + "/" + parts[1]));
    names.push_back(parts[1]);
  }
  EXPECT_THAT(names, testing::ElementsAre("LICENSE", "config.json", "generation_config.json", "model.safetensors",
                                          "tokenizer.json"));
  EXPECT_FALSE(std::filesystem::exists(options.output + "/training_args.bin"));
}

TEST(Convert, TheSameBytesWithAnyNumberOfThreads) {
  const TemporaryFolder folder;
  WriteModel(folder);
  ConvertOptions one = Options(folder, "one", StoredWeights::kInt4);
  one.threads = 1;
  const ConvertOptions three = Options(folder, "three", StoredWeights::kInt4);
  ASSERT_OK(Convert(one));
  ASSERT_OK(Convert(three));
  EXPECT_EQ(Bytes(one.output + "/MANIFEST.sha256"), Bytes(three.output + "/MANIFEST.sha256"));
}

TEST(Convert, GgufFiles) {
  for (const Architecture family : {Architecture::kLlama, Architecture::kQwen2, Architecture::kQwen3}) {
    SCOPED_TRACE(ArchitectureName(family));
    const ModelConfig config = TinyConfig(family);
    const TemporaryFolder folder;
    ConvertOptions options = Options(folder, "out", StoredWeights::kInt8);
    options.input = folder.Write("m.gguf", RandomGguf(config, TensorType::kQ8_0, 1));
    ASSERT_OK(Convert(options));
    const auto source = Checkpoint::Open(options.input);
    const auto converted = Checkpoint::Open(options.output);
    ASSERT_OK(source);
    ASSERT_OK(converted);
    EXPECT_EQ((*converted)->text().tokenizer_json, (*source)->text().tokenizer_json);
    EXPECT_EQ((*converted)->text().chat_template, (*source)->text().chat_template);
    EXPECT_EQ((*converted)->text().eos_token_ids, (*source)->text().eos_token_ids);
    EXPECT_EQ((*converted)->config().rope.theta, (*source)->config().rope.theta);
    for (const auto& [name, shape] : ExpectedTensors((*source)->config())) {
      SCOPED_TRACE(name);
      EXPECT_LT(RelativeError(ReadAll(**converted, name, shape), ReadAll(**source, name, shape)), 0.0045);
    }
  }
}

TEST(Convert, FailsWithoutLeavingAnything) {
  const TemporaryFolder folder;
  WriteModel(folder, TensorType::kF32);
  folder.Write("out-file", "");
  ConvertOptions options = Options(folder, "out-file", StoredWeights::kInt8);
  EXPECT_EQ(Convert(options).code(), absl::StatusCode::kAlreadyExists);
  options = Options(folder, "out", StoredWeights::kInt4);
  options.group = 48;
  EXPECT_REFUSED(Convert(options), "--group is 48", "a multiple of 32");
  options.group = 96;
  EXPECT_REFUSED(Convert(options), "--group is 96", "64 columns", "q_proj");
  options = Options(folder, "out", StoredWeights::kFp8);
  options.group = 32;
  EXPECT_REFUSED(Convert(options), "--group is 32", "0 with fp8");

  const std::string file = Bytes(folder / "model.safetensors");
  std::string damaged = file;
  const float nan = NAN;
  const std::string name = "model.layers.1.self_attn.k_proj.weight";
  const size_t header = damaged.find(name);
  const size_t at = std::stoul(damaged.substr(damaged.find("data_offsets", header) + 15));
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, damaged.data(), 8);
  std::memcpy(&damaged[8 + header_bytes + at + 400], &nan, 4);
  folder.Write("model.safetensors", damaged);
  EXPECT_REFUSED(Convert(Options(folder, "out", StoredWeights::kInt4)), name, "NaN");

  size_t entries = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder.path())) ++entries;
  EXPECT_EQ(entries, 7u) << "the model's six files and out-file";
}

}  // namespace
}  // namespace slmmesh
