// Parts that do not fit together. What right parts mean is tests/golden's.
#include "worker/checkpoint/quantized_tensors.h"

#include <cstring>

#include "absl/strings/strip.h"
#include "common/status.h"
#include "common/temporary_folder.h"
#include "worker/checkpoint/safetensors.h"
#include "worker/checkpoint/testing/random_model.h"
#include "worker/checkpoint/testing/status_matchers.h"

namespace slmmesh {
namespace {

QuantizationConfig Config(QuantizationMethod method) {
  QuantizationConfig config;
  config.method = method;
  config.bits = 4;
  config.group = 32;
  return config;
}

// A module m [8, 64] in each of the formats; tests change one part.
struct Part {
  std::string name;
  const char* type;
  std::vector<int64_t> shape;
  int value = 0;  // of every byte
};
const std::vector<Part> kGptq = {
    {"qweight", "I32", {8, 8}}, {"qzeros", "I32", {2, 1}}, {"scales", "F16", {2, 8}}, {"g_idx", "I32", {64}}};
const std::vector<Part> kAwq = {{"qweight", "I32", {64, 1}}, {"qzeros", "I32", {2, 1}}, {"scales", "F16", {2, 8}}};
const std::vector<Part> kInt8 = {{"weight", "I8", {8, 64}}, {"weight_scale", "F32", {8, 1}}};

absl::StatusOr<TensorTable> Join(const QuantizationConfig& config, const std::vector<Part>& parts) {
  static std::vector<uint8_t> file;  // outlives the views
  SafetensorsBuilder builder;
  uint64_t at = 0;
  for (const Part& part : parts) {
    uint64_t bytes = part.type[0] == 'I' && part.type[1] == '8' ? 1 : std::strcmp(part.type, "F16") == 0 ? 2 : 4;
    if (std::strcmp(part.type, "I64") == 0) bytes = 8;
    if (std::strcmp(part.type, "F8_E4M3") == 0) bytes = 1;
    for (const int64_t size : part.shape) bytes *= static_cast<uint64_t>(size);
    builder.AddHeader("m." + part.name, part.type, absl::StrCat("[", absl::StrJoin(part.shape, ","), "]"), at,
                      at + bytes);
    builder.AddData(std::string(bytes, static_cast<char>(part.value)));
    at += bytes;
  }
  const std::string text = builder.Build();
  file.assign(text.begin(), text.end());
  ASSIGN_OR_RETURN(std::vector<TensorView> tensors, ParseSafetensors("f", file));
  TensorTable table;
  for (TensorView& tensor : tensors) RETURN_IF_ERROR(table.Add(std::move(tensor)));
  RETURN_IF_ERROR(JoinQuantizedTensors(config, table));
  return table;
}

std::vector<Part> Without(std::vector<Part> parts, const std::string& name) {
  std::erase_if(parts, [&](const Part& part) { return part.name == name; });
  return parts;
}
std::vector<Part> With(std::vector<Part> parts, const Part& changed) {
  parts = Without(std::move(parts), changed.name);
  parts.push_back(changed);
  return parts;
}

TEST(QuantizedTensors, PartsBecomeOneWeight) {
  const std::pair<QuantizationMethod, std::vector<Part>> kModules[] = {{QuantizationMethod::kGptq, kGptq},
                                                                       {QuantizationMethod::kAwq, kAwq},
                                                                       {QuantizationMethod::kCompressedTensors, kInt8}};
  for (const auto& [method, parts] : kModules) {
    const auto table = Join(Config(method), parts);
    ASSERT_OK(table);
    EXPECT_EQ(table->all().size(), 1u);
    ASSERT_OK(table->Find("m.weight", {8, 64}));
  }
}

TEST(QuantizedTensors, RefusesPartsThatDoNotFit) {
  const QuantizationConfig gptq = Config(QuantizationMethod::kGptq);
  EXPECT_REFUSED(Join(gptq, Without(kGptq, "scales")), "m.scales", "missing");
  EXPECT_REFUSED(Join(gptq, Without(kGptq, "qzeros")), "m.qzeros", "missing");
  EXPECT_REFUSED(Join(gptq, With(kGptq, {"scales", "F16", {4, 8}})), "m.scales", "[4, 8]", "[2, 8]");
  EXPECT_REFUSED(Join(gptq, With(kGptq, {"scales", "I32", {2, 8}})), "m.scales", "I32");
  EXPECT_REFUSED(Join(gptq, With(kGptq, {"qzeros", "I32", {2, 8}})), "m.qzeros", "[2, 1]");
  EXPECT_REFUSED(Join(gptq, With(kGptq, {"qweight", "F32", {8, 8}})), "m.qweight", "I32");
  EXPECT_REFUSED(Join(gptq, With(kGptq, {"qweight", "I32", {9, 8}})), "m.qweight", "group_size 32", "72");
  EXPECT_REFUSED(Join(gptq, With(kGptq, {"g_idx", "I32", {64}, 1})), "m.g_idx", "16843009", "0 to 1");
  EXPECT_REFUSED(Join(gptq, With(kGptq, {"g_idx", "I32", {64}, 255})), "m.g_idx", "-1");
  EXPECT_REFUSED(Join(gptq, With(kGptq, {"g_idx", "I32", {63}})), "m.g_idx", "[64]");
}

TEST(QuantizedTensors, RefusesBytesThatDoNotFit) {
  const QuantizationConfig config = Config(QuantizationMethod::kCompressedTensors);
  EXPECT_REFUSED(Join(config, Without(kInt8, "weight_scale")), "m.weight_scale", "missing");
  EXPECT_REFUSED(Join(config, With(kInt8, {"weight_scale", "F32", {7, 1}})), "m.weight_scale", "8 rows");
  EXPECT_REFUSED(Join(config, With(kInt8, {"weight_scale", "F32", {8, 5}})), "m.weight_scale", "64 columns");
  EXPECT_REFUSED(Join(config, With(kInt8, {"weight_scale", "I8", {8, 1}})), "m.weight_scale", "F32");
  EXPECT_REFUSED(Join(config, With(kInt8, {"weight_zero_point", "I8", {8, 2}})), "m.weight_zero_point", "[8, 1]");
  EXPECT_REFUSED(Join(config, With(kInt8, {"weight", "I8", {64}})), "m.weight", "a matrix");
}

TEST(QuantizedTensors, RefusesPackedPartsThatDoNotFit) {
  const QuantizationConfig config = Config(QuantizationMethod::kCompressedTensors);
  const std::vector<Part> packed = {
      {"weight_packed", "I32", {8, 8}}, {"weight_scale", "F16", {8, 2}}, {"weight_shape", "I64", {2}}};
  EXPECT_REFUSED(Join(config, packed), "m.weight_packed", "weight_shape", "[0, 0]");
  EXPECT_REFUSED(Join(config, With(packed, {"weight_shape", "F32", {2}})), "m.weight_shape", "I64 [2]");
  EXPECT_REFUSED(Join(config, With(packed, {"weight_shape", "I64", {3}})), "m.weight_shape");
}

TEST(QuantizedTensors, IntegersNeedAConfigThatExplainsThem) {
  EXPECT_REFUSED(Join(QuantizationConfig(), kInt8), "quantization_config");
  EXPECT_REFUSED(Join(QuantizationConfig(), kGptq), "quantization_config");
}

// A whole folder: every projection int8 with a scale a row, the rest floats. Activations' scales are set aside.
TEST(QuantizedTensors, OpensAsACheckpoint) {
  const ModelConfig config = TinyConfig(Architecture::kLlama);
  SafetensorsBuilder builder;
  uint64_t at = 0;
  const auto add = [&](const std::string& name, const char* type, const std::vector<int64_t>& shape,
                       const std::string& bytes) {
    builder.AddHeader(name, type, absl::StrCat("[", absl::StrJoin(shape, ","), "]"), at, at + bytes.size());
    builder.AddData(bytes);
    at += bytes.size();
  };
  const std::map<std::string, std::vector<float>> tensors = RandomTensors(config, 1);
  for (const auto& [name, shape] : ExpectedTensors(config)) {
    absl::string_view module = name;
    if (!absl::ConsumeSuffix(&module, "_proj.weight")) {
      add(name, "F32", shape, EncodeTensor(TensorType::kF32, tensors.at(name)));
      continue;
    }
    add(name, "I8", shape, std::string(static_cast<size_t>(shape[0] * shape[1]), '\x03'));
    add(absl::StrCat(module, "_proj.weight_scale"), "F32", {shape[0], 1},
        EncodeTensor(TensorType::kF32, std::vector<float>(static_cast<size_t>(shape[0]), 0.5f)));
    add(absl::StrCat(module, "_proj.input_scale"), "F32", {1}, EncodeTensor(TensorType::kF32, {0.25f}));
    add(absl::StrCat(module, "_proj.bias"), "F16", {shape[0]}, std::string(static_cast<size_t>(shape[0]) * 2, '\0'));
  }
  Json json = Json::parse(ConfigJson(config));
  json["quantization_config"] = {{"quant_method", "compressed-tensors"},
                                 {"format", "int-quantized"},
                                 {"config_groups", {{"group_0", {{"weights", {{"num_bits", 8}, {"type", "int"}}}}}}}};
  const TemporaryFolder folder;
  folder.Write("config.json", json.dump());
  folder.Write("model.safetensors", builder.Build());
  const auto checkpoint = Checkpoint::Open(folder.path());
  ASSERT_OK(checkpoint);
  const auto tensor = (*checkpoint)->Find("model.layers.1.mlp.down_proj.weight", {64, 96});
  ASSERT_OK(tensor);
  EXPECT_TRUE(NativeFormat(*tensor).has_value());
  float value = 0;
  ReadTensor(*tensor, 3, 4, 5, 6, &value);
  EXPECT_EQ(value, 1.5f);
  EXPECT_FALSE(NativeFormat(*(*checkpoint)->Find("model.embed_tokens.weight", {40, 64})).has_value());

  json.erase("quantization_config");
  folder.Write("config.json", json.dump());
  EXPECT_REFUSED(Checkpoint::Open(folder.path()), "quantization_config");
}

}  // namespace
}  // namespace slmmesh
