#include "worker/checkpoint/quantization_config.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "common/status.h"

namespace slmmesh {
namespace {

constexpr int64_t kMaxBlock = 1 << 16;

bool IsEmpty(const Json* value) { return value == nullptr || value->empty() || *value == false; }

// -1 means one group a row.
absl::StatusOr<int64_t> ReadGroupSize(const JsonFields& fields) {
  ASSIGN_OR_RETURN(const int64_t group, fields.Integer("group_size", -1, kMaxBlock));
  if (group == 0) return fields.Error("group_size", "-1 (all columns of a row) or the number that share a scale");
  return group == -1 ? 0 : group;
}

absl::StatusOr<QuantizationConfig> ReadGptq(const JsonFields& fields) {
  QuantizationConfig config{QuantizationMethod::kGptq};
  ASSIGN_OR_RETURN(const int64_t bits, fields.Integer("bits", 1, 16));
  if (bits != 4 && bits != 8) return fields.Error("bits", "4 or 8");
  config.bits = static_cast<int>(bits);
  ASSIGN_OR_RETURN(config.group, ReadGroupSize(fields));
  ASSIGN_OR_RETURN(const std::string format, fields.StringOr("checkpoint_format", "gptq"));
  if (format != "gptq" && format != "gptq_v2") {
    return fields.Error("checkpoint_format", "gptq or gptq_v2 (kernels' own formats are not read: save it as gptq)");
  }
  config.zero_plus = format == "gptq" ? 1 : 0;
  if (!IsEmpty(fields.Find("dynamic"))) return fields.Error("dynamic", "no rules for single modules");
  ASSIGN_OR_RETURN(const std::string pack_type, fields.StringOr("pack_dtype", "int32"));
  if (pack_type != "int32") return fields.Error("pack_dtype", "int32");
  return config;
}

absl::StatusOr<QuantizationConfig> ReadAwq(const JsonFields& fields) {
  QuantizationConfig config{QuantizationMethod::kAwq};
  ASSIGN_OR_RETURN(const int64_t bits, fields.Integer("bits", 1, 16));
  if (bits != 4) return fields.Error("bits", "4");
  config.bits = 4;
  ASSIGN_OR_RETURN(config.group, ReadGroupSize(fields));
  ASSIGN_OR_RETURN(const std::string version, fields.StringOr("version", "gemm"));
  if (version != "gemm" && version != "GEMM") {
    return fields.Error("version", "gemm (the other layouts are not read: save it as gemm)");
  }
  return config;
}

absl::Status ReadBlock(const JsonFields& fields, const char* name, QuantizationConfig& config) {
  const Json* block = fields.Find(name);
  if (block == nullptr) return absl::OkStatus();
  const auto is_size = [](const Json& size) { return size.is_number_integer() && size >= 1 && size <= kMaxBlock; };
  if (!block->is_array() || block->size() != 2 || !is_size((*block)[0]) || !is_size((*block)[1])) {
    return fields.Error(name, "a list of rows and columns that share a scale, such as [128, 128]");
  }
  const int64_t rows = (*block)[0].get<int64_t>(), columns = (*block)[1].get<int64_t>();
  if (config.block_rows != 0 && (config.block_rows != rows || config.block_columns != columns)) {
    return fields.Error(name, absl::StrCat("the same blocks in all groups, [", config.block_rows, ", ",
                                           config.block_columns, "] as before"));
  }
  config.block_rows = rows;
  config.block_columns = columns;
  return absl::OkStatus();
}

absl::StatusOr<QuantizationConfig> ReadFp8(const JsonFields& fields) {
  QuantizationConfig config{QuantizationMethod::kFp8};
  RETURN_IF_ERROR(ReadBlock(fields, "weight_block_size", config));
  ASSIGN_OR_RETURN(const std::string format, fields.StringOr("fmt", "e4m3"));
  if (format != "e4m3" && format != "float8_e4m3fn") return fields.Error("fmt", "e4m3");
  return config;
}

// How activations were quantized is not read: here they are quantized as they come, or not at all.
absl::Status ReadCompressedGroup(const std::string& where, const Json& group, QuantizationConfig& config) {
  ASSIGN_OR_RETURN(const JsonFields fields, JsonFields::Create(where, group));
  const Json* weights_json = fields.Find("weights");
  if (weights_json == nullptr) return absl::OkStatus();  // this group's weights stay floats
  ASSIGN_OR_RETURN(const JsonFields weights, JsonFields::Create(where + ".weights", *weights_json));
  ASSIGN_OR_RETURN(const std::string type, weights.StringOr("type", "int"));
  ASSIGN_OR_RETURN(const int64_t bits, weights.Integer("num_bits", 1, 16));
  if (type != "int" && type != "float") return weights.Error("type", "int or float");
  if (bits != 8 && (bits != 4 || type != "int")) {
    return weights.Error("num_bits", type == "int" ? "4 or 8" : "8");
  }
  return ReadBlock(weights, "block_structure", config);
}

absl::StatusOr<QuantizationConfig> ReadCompressedTensors(const JsonFields& fields) {
  QuantizationConfig config{QuantizationMethod::kCompressedTensors};
  constexpr const char* kFormats = "pack-quantized, int-quantized, float-quantized, naive-quantized or mixed-precision";
  ASSIGN_OR_RETURN(const std::string format, fields.String("format"));
  if (absl::string_view(kFormats).find(format) == absl::string_view::npos || format.size() < 13) {
    return fields.Error("format", kFormats);
  }
  ASSIGN_OR_RETURN(const std::string status, fields.StringOr("quantization_status", "compressed"));
  if (status != "compressed") return fields.Error("quantization_status", "compressed");
  if (const Json* sparsity = fields.Find("sparsity_config"); !IsEmpty(sparsity)) {
    if (!sparsity->is_object() || sparsity->value("format", Json("dense")) != "dense") {
      return fields.Error("sparsity_config", "weights that are not stored sparsely");
    }
  }
  if (!IsEmpty(fields.Find("transform_config"))) return fields.Error("transform_config", "no transforms");
  const Json* groups = fields.Find("config_groups");
  if (groups == nullptr || !groups->is_object()) return fields.Error("config_groups", "an object of groups of modules");
  for (const auto& [name, group] : groups->items()) {
    RETURN_IF_ERROR(ReadCompressedGroup(absl::StrCat(fields.where(), ".config_groups.", name), group, config));
  }
  return config;
}

}  // namespace

absl::StatusOr<QuantizationConfig> ReadQuantizationConfig(const JsonFields& config) {
  const Json* value = config.Find("quantization_config");
  if (IsEmpty(value)) return QuantizationConfig();
  ASSIGN_OR_RETURN(const JsonFields fields, JsonFields::Create(config.where() + ": quantization_config", *value));
  ASSIGN_OR_RETURN(const std::string method, fields.String("quant_method"));
  if (method == "gptq") return ReadGptq(fields);
  if (method == "awq") return ReadAwq(fields);
  if (method == "fp8" || method == "fbgemm_fp8") return ReadFp8(fields);
  if (method == "compressed-tensors") return ReadCompressedTensors(fields);
  return fields.Error("quant_method",
                      "gptq, awq, fp8, fbgemm_fp8 or compressed-tensors (or weights that are not quantized, or GGUF)");
}

}  // namespace slmmesh
