#include "worker/checkpoint/quantization_config.h"

#include "worker/checkpoint/testing/status_matchers.h"

namespace slmmesh {
namespace {

absl::StatusOr<QuantizationConfig> Parse(const Json& quantization) {
  const Json json = {{"quantization_config", quantization}};
  return ReadQuantizationConfig(*JsonFields::Create("config.json", json));
}

Json Gptq() { return {{"quant_method", "gptq"}, {"bits", 4}, {"group_size", 128}, {"sym", true}}; }
Json Awq() { return {{"quant_method", "awq"}, {"bits", 4}, {"group_size", 64}, {"version", "gemm"}}; }
Json Compressed(const Json& weights) {
  return {{"quant_method", "compressed-tensors"},
          {"format", "pack-quantized"},
          {"config_groups", {{"group_0", {{"weights", weights}, {"targets", {"Linear"}}}}}}};
}

// `json` with one field set.
Json With(Json json, const char* name, const Json& value) {
  json[name] = value;
  return json;
}

TEST(QuantizationConfig, AbsentMeansFloats) {
  EXPECT_EQ(Parse(nullptr)->method, QuantizationMethod::kNone);
  EXPECT_EQ(Parse(Json::object())->method, QuantizationMethod::kNone);
}

TEST(QuantizationConfig, Gptq) {
  const auto config = Parse(Gptq());
  ASSERT_OK(config);
  EXPECT_EQ(config->method, QuantizationMethod::kGptq);
  EXPECT_EQ(config->bits, 4);
  EXPECT_EQ(config->group, 128);
  EXPECT_EQ(config->zero_plus, 1);
  EXPECT_EQ(Parse(With(Gptq(), "checkpoint_format", "gptq_v2"))->zero_plus, 0);
  EXPECT_EQ(Parse(With(Gptq(), "group_size", -1))->group, 0);
  EXPECT_REFUSED(Parse(With(Gptq(), "bits", 3)), "quantization_config", "`bits` is 3", "4 or 8");
  EXPECT_REFUSED(Parse(With(Gptq(), "group_size", 0)), "`group_size` is 0");
  EXPECT_REFUSED(Parse(With(Gptq(), "checkpoint_format", "marlin")), "marlin", "save it as gptq");
  EXPECT_REFUSED(Parse(With(Gptq(), "dynamic", {{"-:lm_head", Json::object()}})), "dynamic");
  EXPECT_REFUSED(Parse(With(Gptq(), "pack_dtype", "int64")), "pack_dtype", "int32");
}

TEST(QuantizationConfig, Awq) {
  EXPECT_EQ(Parse(Awq())->method, QuantizationMethod::kAwq);
  EXPECT_EQ(Parse(Awq())->group, 64);
  EXPECT_REFUSED(Parse(With(Awq(), "bits", 8)), "`bits` is 8");
  EXPECT_REFUSED(Parse(With(Awq(), "version", "gemv")), "gemv", "save it as gemm");
}

TEST(QuantizationConfig, Fp8) {
  const Json json = {{"quant_method", "fp8"}, {"weight_block_size", {128, 64}}};
  EXPECT_EQ(Parse(json)->block_rows, 128);
  EXPECT_EQ(Parse(json)->block_columns, 64);
  EXPECT_EQ(Parse(With(json, "weight_block_size", nullptr))->block_rows, 0);
  for (const Json& wrong : {Json(128), Json({128}), Json({0, 128}), Json({128, -1}), Json({1e9, 1})}) {
    EXPECT_REFUSED(Parse(With(json, "weight_block_size", wrong)), "weight_block_size", "[128, 128]");
  }
  EXPECT_REFUSED(Parse(With(json, "fmt", "e5m2")), "e5m2", "e4m3");
}

TEST(QuantizationConfig, CompressedTensors) {
  const Json int4 = {{"num_bits", 4}, {"type", "int"}};
  EXPECT_EQ(Parse(Compressed(int4))->method, QuantizationMethod::kCompressedTensors);
  EXPECT_EQ(Parse(Compressed({{"num_bits", 8}, {"type", "float"}, {"block_structure", {128, 32}}}))->block_columns, 32);
  EXPECT_REFUSED(Parse(Compressed({{"num_bits", 4}, {"type", "float"}})), "group_0.weights", "`num_bits` is 4", "8");
  EXPECT_REFUSED(Parse(Compressed({{"num_bits", 2}, {"type", "int"}})), "`num_bits` is 2", "4 or 8");
  EXPECT_REFUSED(Parse(With(Compressed(int4), "format", "marlin-24")), "marlin-24", "pack-quantized");
  EXPECT_REFUSED(Parse(With(Compressed(int4), "format", "quantized")), "`format`");
  EXPECT_REFUSED(Parse(With(Compressed(int4), "quantization_status", "frozen")), "frozen", "compressed");
  EXPECT_REFUSED(Parse(With(Compressed(int4), "sparsity_config", {{"format", "sparse-bitmask"}})), "sparsity_config");
  EXPECT_REFUSED(Parse(With(Compressed(int4), "transform_config", {{"config_groups", {{"u", 1}}}})),
                 "transform_config");
  EXPECT_REFUSED(Parse(With(Compressed(int4), "config_groups", 1)), "config_groups");
}

TEST(QuantizationConfig, RefusesOtherMethods) {
  EXPECT_REFUSED(Parse({{"quant_method", "bitsandbytes"}}), "bitsandbytes", "compressed-tensors");
  EXPECT_REFUSED(Parse({{"bits", 4}}), "quant_method", "missing");
}

}  // namespace
}  // namespace slmmesh
