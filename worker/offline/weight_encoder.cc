#include "worker/offline/weight_encoder.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "worker/quantize/quantize.h"
#include "worker/quantize/small_floats.h"

namespace slmmesh {
namespace {

using kernels::ScaleType;
using kernels::WeightFormat;
using kernels::WeightType;

constexpr int64_t kQuantsInWord = 8;  // of int4
constexpr float kLargestE4M3 = 448;

template <typename T>
void AppendNumber(T number, std::vector<uint8_t>* bytes) {
  const size_t at = bytes->size();
  bytes->resize(at + sizeof number);
  std::memcpy(bytes->data() + at, &number, sizeof number);
}

bool HasHalfScales(const StoredFormat& format) { return format.group != 0; }

// Eight columns in a word, the first in the lowest bits, plus 8: pairs of columns in bytes, as words are little-endian.
// Columns are a multiple of 32.
void PackInt4(const std::vector<int8_t>& quants, std::vector<uint8_t>* bytes) {
  for (size_t i = 0; i < quants.size(); i += 2) {
    bytes->push_back(static_cast<uint8_t>((quants[i] + 8) | ((quants[i + 1] + 8) << 4)));
  }
}

EncodedRows EncodeIntegers(const StoredFormat& format, const ErrorSpread* spread, const float* values, int64_t rows,
                           int64_t columns) {
  const bool is_int4 = format.weights == StoredWeights::kInt4;
  const WeightFormat rounding(is_int4 ? WeightType::kInt4 : WeightType::kInt8, format.group,
                              HasHalfScales(format) ? ScaleType::kFloat16 : ScaleType::kFloat32, false);
  const int64_t groups = format.group == 0 ? 1 : columns / format.group;
  std::vector<int8_t> quants(static_cast<size_t>(rows * columns));
  std::vector<float> scales(static_cast<size_t>(rows * groups));
  if (spread == nullptr) {
    QuantizeRows(rounding, values, rows, columns, quants.data(), scales.data(), nullptr);
  } else {
    spread->QuantizeRows(rounding, values, rows, quants.data(), scales.data());
  }
  EncodedRows encoded;
  if (is_int4) {
    PackInt4(quants, &encoded.quants);
  } else {
    encoded.quants.resize(quants.size());
    std::memcpy(encoded.quants.data(), quants.data(), quants.size());
  }
  for (const float scale : scales) {
    if (HasHalfScales(format)) {
      AppendNumber(RoundToHalf(scale), &encoded.scales);
    } else {
      AppendNumber(scale, &encoded.scales);
    }
  }
  return encoded;
}

EncodedRows EncodeFp8(const float* values, int64_t rows, int64_t columns) {
  EncodedRows encoded;
  encoded.quants.reserve(static_cast<size_t>(rows * columns));
  for (int64_t row = 0; row < rows; ++row) {
    const float* begin = values + row * columns;
    float largest = 0;
    for (int64_t c = 0; c < columns; ++c) largest = std::max(largest, std::fabs(begin[c]));
    const float scale = largest / kLargestE4M3;
    for (int64_t c = 0; c < columns; ++c) encoded.quants.push_back(scale == 0 ? 0 : RoundToE4M3(begin[c] / scale));
    AppendNumber(scale, &encoded.scales);
  }
  return encoded;
}

}  // namespace

std::optional<StoredWeights> ParseStoredWeights(absl::string_view name) {
  if (name == "int4") return StoredWeights::kInt4;
  if (name == "int8") return StoredWeights::kInt8;
  if (name == "fp8") return StoredWeights::kFp8;
  return std::nullopt;
}

std::vector<TensorEntry> EntriesOf(const StoredFormat& format, const std::string& module, int64_t rows,
                                   int64_t columns) {
  const int64_t groups = format.group == 0 ? 1 : columns / format.group;
  const TensorEntry scales = {
      module + ".weight_scale", HasHalfScales(format) ? TensorType::kF16 : TensorType::kF32, {rows, groups}};
  switch (format.weights) {
    case StoredWeights::kInt4:
      return {{module + ".weight_packed", TensorType::kI32, {rows, columns / kQuantsInWord}},
              scales,
              {module + ".weight_shape", TensorType::kI64, {2}}};
    case StoredWeights::kInt8:
      return {{module + ".weight", TensorType::kI8, {rows, columns}}, scales};
    case StoredWeights::kFp8:
      return {{module + ".weight", TensorType::kF8E4M3, {rows, columns}}, scales};
  }
  return {};
}

EncodedRows EncodeRows(const StoredFormat& format, const ErrorSpread* spread, const float* values, int64_t rows,
                       int64_t columns) {
  return format.weights == StoredWeights::kFp8 ? EncodeFp8(values, rows, columns)
                                               : EncodeIntegers(format, spread, values, rows, columns);
}

std::vector<uint8_t> EncodeTrailer(const StoredFormat& format, int64_t rows, int64_t columns) {
  std::vector<uint8_t> bytes;
  if (format.weights != StoredWeights::kInt4) return bytes;
  AppendNumber(rows, &bytes);
  AppendNumber(columns, &bytes);
  return bytes;
}

nlohmann::json QuantizationConfigJson(const StoredFormat& format) {
  const bool is_int4 = format.weights == StoredWeights::kInt4;
  const bool is_fp8 = format.weights == StoredWeights::kFp8;
  const char* type = is_fp8 ? "float" : "int";
  nlohmann::json weights = {{"num_bits", is_int4 ? 4 : 8},
                            {"type", type},
                            {"symmetric", true},
                            {"dynamic", false},
                            {"strategy", format.group == 0 ? "channel" : "group"}};
  weights["group_size"] = format.group == 0 ? nlohmann::json() : nlohmann::json(format.group);
  nlohmann::json activations;  // null: floats
  if (format.group == 0) {
    activations = {{"num_bits", 8}, {"type", type}, {"symmetric", true}, {"dynamic", true}, {"strategy", "token"}};
  }
  return {{"quant_method", "compressed-tensors"},
          {"format", is_int4  ? "pack-quantized"
                     : is_fp8 ? "float-quantized"
                              : "int-quantized"},
          {"quantization_status", "compressed"},
          {"ignore", {"lm_head"}},
          {"config_groups",
           {{"group_0", {{"targets", {"Linear"}}, {"weights", weights}, {"input_activations", activations}}}}}};
}

}  // namespace slmmesh
