// `quantization_config` of config.json: which tool quantized the weights, and how it stored them. What this program
// does not read is refused by name.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "worker/checkpoint/json_fields.h"

namespace slmmesh {

enum class QuantizationMethod { kNone, kGptq, kAwq, kCompressedTensors, kFp8 };

struct QuantizationConfig {
  QuantizationMethod method = QuantizationMethod::kNone;
  int bits = 0;            // GPTQ: 4 or 8; AWQ: 4
  int64_t group = 0;       // GPTQ, AWQ: columns that share a scale; 0: all of a row
  int zero_plus = 0;       // GPTQ: 1 in the first format
  int64_t block_rows = 0;  // FP8, compressed-tensors: of blocks that share a scale; 0: there are none
  int64_t block_columns = 0;
};

// `config`: config.json.
absl::StatusOr<QuantizationConfig> ReadQuantizationConfig(const JsonFields& config);

}  // namespace slmmesh
