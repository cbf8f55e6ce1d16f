#include "worker/checkpoint/quantized_tensors.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "common/status.h"
#include "worker/checkpoint/read_parts.h"

namespace slmmesh {
namespace {

using Shape = std::vector<int64_t>;

std::string Show(const TensorView& tensor) {
  return absl::StrCat(TensorTypeName(tensor.type), " [", absl::StrJoin(tensor.shape, ", "), "]");
}

absl::Status Misfit(const TensorView& tensor, const std::string& expected) {
  return absl::InvalidArgumentError(
      absl::StrCat("tensor `", tensor.name, "` is ", Show(tensor), "; expected ", expected));
}

absl::Status Misfit(const TensorView& tensor, TensorType type, const Shape& shape) {
  return Misfit(tensor, absl::StrCat(TensorTypeName(type), " [", absl::StrJoin(shape, ", "), "]"));
}

bool IsFloat(TensorType type) {
  return type == TensorType::kF32 || type == TensorType::kF16 || type == TensorType::kBF16;
}

int32_t Int32At(absl::Span<const uint8_t> bytes, int64_t i) {
  int32_t value;
  std::memcpy(&value, bytes.data() + 4 * i, sizeof value);
  return value;
}

// Puts one module's weight together. `module` is the name without ".weight".
class ModuleJoiner {
 public:
  ModuleJoiner(const QuantizationConfig& config, TensorTable& tensors, std::string module)
      : config_(config), tensors_(tensors), module_(std::move(module)) {}

  // qweight, qzeros, scales and, of GPTQ, g_idx.
  absl::Status JoinGptqOrAwq() {
    const bool is_awq = config_.method == QuantizationMethod::kAwq;
    ASSIGN_OR_RETURN(TensorView quants, Take("qweight"));
    const int64_t per_word = 32 / config_.bits;
    if (quants.type != TensorType::kI32 || quants.shape.size() != 2) return Misfit(quants, "an I32 matrix");
    const int64_t rows = is_awq ? quants.shape[1] * per_word : quants.shape[1];
    const int64_t columns = is_awq ? quants.shape[0] : quants.shape[0] * per_word;
    QuantizedParts& parts = quants.parts;
    parts.order = is_awq ? QuantOrder::kAwqWords : QuantOrder::kColumns;
    parts.bits = config_.bits;
    parts.zero_plus = config_.zero_plus;
    const int64_t group = config_.group == 0 ? columns : config_.group;
    if (columns % group != 0 || rows % per_word != 0) {
      return Misfit(quants, absl::StrCat("columns that are a multiple of group_size ", group, ", and rows of ",
                                         per_word, " (they are ", columns, " and ", rows, ")"));
    }
    const int64_t groups = columns / group;
    parts.columns_per_scale = group;
    ASSIGN_OR_RETURN(const TensorView scales, Take("scales"));
    if (!IsFloat(scales.type) || scales.shape != Shape{groups, rows}) {
      return Misfit(scales, TensorType::kF16, {groups, rows});
    }
    parts.scale_type = scales.type;
    parts.scales = scales.bytes;
    parts.scale_strides = {1, rows};
    ASSIGN_OR_RETURN(const TensorView zeros, Take("qzeros"));
    RETURN_IF_ERROR(Expect(zeros, TensorType::kI32, {groups, rows / per_word}));
    parts.zeros = zeros.bytes;
    parts.zero_strides = {1, rows / per_word};
    if (std::optional<TensorView> index = TakeIfThere("g_idx")) {
      RETURN_IF_ERROR(SetGroupIndex(*index, columns, groups, parts));
    }
    return Add(std::move(quants), rows, columns);
  }

  // compressed-tensors' pack-quantized: weight_packed, weight_shape, weight_scale, maybe weight_zero_point and
  // weight_g_idx.
  absl::Status JoinPacked() {
    ASSIGN_OR_RETURN(TensorView quants, Take("weight_packed"));
    if (quants.type != TensorType::kI32 || quants.shape.size() != 2) return Misfit(quants, "an I32 matrix");
    ASSIGN_OR_RETURN(const TensorView shape, Take("weight_shape"));
    RETURN_IF_ERROR(CheckShapeTensor(shape));
    double numbers[2];
    for (int64_t i = 0; i < 2; ++i) numbers[i] = NumberAt(shape, i);
    const int64_t rows = quants.shape[0];
    for (const int bits : {4, 8}) {
      const int64_t columns = quants.shape[1] * (32 / bits);
      if (numbers[0] != static_cast<double>(rows) || numbers[1] != static_cast<double>(columns)) continue;
      quants.parts.order = QuantOrder::kRows;
      quants.parts.bits = bits;
      RETURN_IF_ERROR(SetRowScales(rows, columns, "weight_scale", quants.parts));
      RETURN_IF_ERROR(SetPackedZeros(rows, columns, quants.parts));
      return Add(std::move(quants), rows, columns);
    }
    return Misfit(quants, absl::StrCat("eight (int4) or four (int8) columns in a word, as weight_shape says: [",
                                       numbers[0], ", ", numbers[1], "]"));
  }

  // An int8 or E4M3 `weight` with scales beside it.
  absl::Status JoinBytes() {
    ASSIGN_OR_RETURN(TensorView quants, Take("weight"));
    if (quants.shape.size() != 2) return Misfit(quants, "a matrix");
    const int64_t rows = quants.shape[0], columns = quants.shape[1];
    quants.parts.order = QuantOrder::kRows;
    quants.parts.bits = 8;
    const bool inverse = tensors_.Has(module_ + ".weight_scale_inv");  // named so, yet multiplied all the same
    RETURN_IF_ERROR(SetRowScales(rows, columns, inverse ? "weight_scale_inv" : "weight_scale", quants.parts));
    if (std::optional<TensorView> zeros = TakeIfThere("weight_zero_point")) {
      if (quants.type != TensorType::kI8) return Misfit(*zeros, "none beside FP8");
      RETURN_IF_ERROR(SetByteZeros(*zeros, rows, columns, quants.parts));
    }
    return Add(std::move(quants), rows, columns);
  }

 private:
  absl::StatusOr<TensorView> Take(const char* part) {
    std::optional<TensorView> tensor = TakeIfThere(part);
    if (tensor.has_value()) return *std::move(tensor);
    return absl::InvalidArgumentError(
        absl::StrCat("tensor `", module_, ".", part, "` is missing; the quantized module's other parts are there"));
  }
  std::optional<TensorView> TakeIfThere(const char* part) { return tensors_.Take(absl::StrCat(module_, ".", part)); }

  static absl::Status Expect(const TensorView& tensor, TensorType type, const Shape& shape) {
    return tensor.type == type && tensor.shape == shape ? absl::OkStatus() : Misfit(tensor, type, shape);
  }

  static absl::Status CheckShapeTensor(const TensorView& shape) {
    const bool is_integer = shape.type == TensorType::kI64 || shape.type == TensorType::kI32;
    return is_integer && shape.shape == Shape{2} ? absl::OkStatus() : Misfit(shape, TensorType::kI64, {2});
  }
  // Exact for every size of a tensor.
  static double NumberAt(const TensorView& tensor, int64_t i) {
    if (tensor.type == TensorType::kI32) return Int32At(tensor.bytes, i);
    int64_t value;
    std::memcpy(&value, tensor.bytes.data() + 8 * i, sizeof value);
    return static_cast<double>(value);
  }

  // Scales [rows of scales, groups]: of single rows, of blocks of rows, or one for all; of groups of columns, blocks,
  // or whole rows. A vector is one of the rows, or a single number.
  absl::Status SetRowScales(int64_t rows, int64_t columns, const char* name, QuantizedParts& parts) {
    ASSIGN_OR_RETURN(const TensorView scales, Take(name));
    if (!IsFloat(scales.type)) return Misfit(scales, "F32, BF16 or F16");
    const int64_t scale_rows = scales.shape[0];
    const int64_t groups = scales.shape.size() == 1 ? 1 : scales.shape[1];
    const auto blocks = [](int64_t count, int64_t block) { return block == 0 ? 0 : (count + block - 1) / block; };
    if (scale_rows == rows) {
      parts.rows_per_scale = 1;
    } else if (scale_rows == blocks(rows, config_.block_rows)) {
      parts.rows_per_scale = config_.block_rows;
    } else if (scale_rows == 1 && groups == 1) {
      parts.rows_per_scale = rows;
    } else {
      return Misfit(scales, absl::StrCat("scales of ", rows, " rows, or of blocks, or a single one"));
    }
    if (columns % groups == 0 && (groups != blocks(columns, config_.block_columns) || groups == 1)) {
      parts.columns_per_scale = columns / groups;
    } else if (groups == blocks(columns, config_.block_columns)) {
      parts.columns_per_scale = config_.block_columns;
    } else {
      return Misfit(scales, absl::StrCat("groups that divide ", columns, " columns"));
    }
    parts.scale_type = scales.type;
    parts.scales = scales.bytes;
    parts.scale_strides = {groups, 1};
    return absl::OkStatus();
  }

  absl::Status SetPackedZeros(int64_t rows, int64_t columns, QuantizedParts& parts) {
    const int64_t groups = columns / parts.columns_per_scale;
    if (std::optional<TensorView> zeros = TakeIfThere("weight_zero_point")) {
      if (zeros->type == TensorType::kI8) return Misfit(*zeros, "I32 words, as newer versions of the tool store them");
      const int64_t per_word = 32 / parts.bits;
      RETURN_IF_ERROR(Expect(*zeros, TensorType::kI32, {(rows + per_word - 1) / per_word, groups}));
      parts.zeros = zeros->bytes;
      parts.zero_strides = {groups, 1};
    }
    if (std::optional<TensorView> index = TakeIfThere("weight_g_idx")) {
      RETURN_IF_ERROR(SetGroupIndex(*index, columns, groups, parts));
    }
    return absl::OkStatus();
  }

  static absl::Status SetByteZeros(const TensorView& zeros, int64_t rows, int64_t columns, QuantizedParts& parts) {
    const int64_t groups = columns / parts.columns_per_scale;
    if (parts.rows_per_scale != 1 || zeros.type != TensorType::kI8 ||
        static_cast<int64_t>(zeros.bytes.size()) != rows * groups) {
      return Misfit(zeros, TensorType::kI8, {rows, groups});
    }
    parts.zeros = zeros.bytes;
    parts.zeros_are_bytes = true;
    parts.zero_strides = {groups, 1};
    return absl::OkStatus();
  }

  // An index that says column / group says nothing new.
  static absl::Status SetGroupIndex(const TensorView& index, int64_t columns, int64_t groups, QuantizedParts& parts) {
    RETURN_IF_ERROR(Expect(index, TensorType::kI32, {columns}));
    bool in_order = true;
    for (int64_t c = 0; c < columns; ++c) {
      const int32_t group = Int32At(index.bytes, c);
      if (group < 0 || group >= groups) {
        return absl::InvalidArgumentError(absl::StrCat("tensor `", index.name, "` says group ", group, " of column ", c,
                                                       "; expected 0 to ", groups - 1));
      }
      in_order = in_order && group == c / parts.columns_per_scale;
    }
    if (!in_order) parts.group_index = index.bytes;
    return absl::OkStatus();
  }

  // Symmetric quantization, as most is: every zero point is the middle of the stored range.
  static bool ZerosAreTheMiddle(const QuantizedParts& parts, int64_t rows, int64_t groups) {
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t group = 0; group < groups; ++group) {
        if (ZeroOf(parts, row, group) != 0) return false;
      }
    }
    return true;
  }

  absl::Status Add(TensorView quants, int64_t rows, int64_t columns) {
    QuantizedParts& parts = quants.parts;
    const bool in_words = quants.type == TensorType::kI32;
    if (in_words) parts.bias = parts.bits == 8 ? 128 : 8;
    if (ZerosAreTheMiddle(parts, rows, columns / parts.columns_per_scale)) {
      parts.zeros = {};
    } else if (in_words && parts.bits == 4) {
      parts.bias = 0;  // q is 0 … 15 where there are zero points
    }
    quants.name = module_ + ".weight";
    quants.shape = {rows, columns};
    return tensors_.Add(std::move(quants));
  }

  const QuantizationConfig& config_;
  TensorTable& tensors_;
  const std::string module_;
};

bool IsBytes(const TensorView& tensor) { return tensor.type == TensorType::kI8 || tensor.type == TensorType::kF8E4M3; }

// Scales of activations and of the KV cache: here those are quantized as they come, or not at all.
bool IsOfActivations(absl::string_view name) {
  for (const char* part : {".input_scale", ".input_zero_point", ".output_scale", ".output_zero_point", ".k_scale",
                           ".v_scale", ".q_scale", ".activation_scale", ".input_scale_ub"}) {
    if (absl::EndsWith(name, part)) return true;
  }
  return false;
}

}  // namespace

absl::Status JoinQuantizedTensors(const QuantizationConfig& config, TensorTable& tensors) {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : tensors.all()) names.push_back(name);
  std::sort(names.begin(), names.end());
  const bool words = config.method == QuantizationMethod::kGptq || config.method == QuantizationMethod::kAwq;
  const bool compressed = config.method == QuantizationMethod::kCompressedTensors;
  for (const std::string& name : names) {
    absl::string_view module = name;
    const auto found = tensors.all().find(name);
    if (found == tensors.all().end()) continue;  // went into a weight
    if (config.method != QuantizationMethod::kNone && IsOfActivations(name)) {
      tensors.Take(name);
    } else if (words && absl::ConsumeSuffix(&module, ".qweight")) {
      RETURN_IF_ERROR(ModuleJoiner(config, tensors, std::string(module)).JoinGptqOrAwq());
    } else if (compressed && absl::ConsumeSuffix(&module, ".weight_packed")) {
      RETURN_IF_ERROR(ModuleJoiner(config, tensors, std::string(module)).JoinPacked());
    } else if ((compressed || config.method == QuantizationMethod::kFp8) && IsBytes(found->second) &&
               absl::ConsumeSuffix(&module, ".weight")) {
      RETURN_IF_ERROR(ModuleJoiner(config, tensors, std::string(module)).JoinBytes());
    }
  }
  for (const auto& [name, tensor] : tensors.all()) {
    if (tensor.parts.order == QuantOrder::kNone && !IsFloat(tensor.type)) {
      return Misfit(tensor,
                    "F32, F16 or BF16, or a part of a weight quantized as config.json's quantization_config "
                    "says");
    }
  }
  return absl::OkStatus();
}

}  // namespace slmmesh
