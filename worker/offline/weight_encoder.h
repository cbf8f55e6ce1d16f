// A weight matrix in the compressed-tensors format: which tensors it becomes, and their bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json_fwd.hpp"
#include "worker/offline/safetensors_writer.h"
#include "worker/quantize/error_spread.h"

namespace slmmesh {

enum class StoredWeights { kInt4, kInt8, kFp8 };
std::optional<StoredWeights> ParseStoredWeights(absl::string_view name);  // "int4", "int8", "fp8"

// int4: pack-quantized, symmetric, fp16 scales of `group` columns. int8: a scale of fp32 a row (group 0) or an fp16 one
// of `group` columns. fp8 (E4M3): a scale of fp32 a row.
struct StoredFormat {
  StoredWeights weights = StoredWeights::kInt4;
  int64_t group = 0;
};

// The tensors that module.weight [rows, columns] becomes, in the order of EncodedRows' parts.
std::vector<TensorEntry> EntriesOf(const StoredFormat& format, const std::string& module, int64_t rows,
                                   int64_t columns);

// Bytes of some rows. The quants of all rows are written before the first scale.
struct EncodedRows {
  std::vector<uint8_t> quants;
  std::vector<uint8_t> scales;
};

// Rounds rows [rows, columns] to the nearest, or, with a spread (of integers alone), to what makes good earlier errors.
EncodedRows EncodeRows(const StoredFormat& format, const ErrorSpread* spread, const float* values, int64_t rows,
                       int64_t columns);
// What is behind the scales: weight_shape of int4, else nothing.
std::vector<uint8_t> EncodeTrailer(const StoredFormat& format, int64_t rows, int64_t columns);

// config.json's quantization_config.
nlohmann::json QuantizationConfigJson(const StoredFormat& format);

}  // namespace slmmesh
