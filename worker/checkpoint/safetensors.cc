#include "worker/checkpoint/safetensors.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/status.h"
#include "worker/checkpoint/json_fields.h"
#include "worker/checkpoint/tensor_table.h"

namespace slmmesh {
namespace {

constexpr size_t kLengthBytes = 8;
constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the format's own limit
constexpr int64_t kMaxTensorElements = int64_t{1} << 40;
constexpr size_t kMaxNameBytes = 256;
constexpr size_t kMaxShards = 4096;

absl::StatusOr<TensorType> ReadType(const JsonFields& fields) {
  ASSIGN_OR_RETURN(const std::string type, fields.String("dtype"));
  for (const TensorType known : {TensorType::kF32, TensorType::kF16, TensorType::kBF16, TensorType::kI8,
                                 TensorType::kI32, TensorType::kI64, TensorType::kF8E4M3}) {
    if (type == TensorTypeName(known)) return known;
  }
  return fields.Error("dtype", "F32, F16 or BF16, or I8, I32, I64 or F8_E4M3 in a quantized checkpoint");
}

absl::StatusOr<std::vector<int64_t>> ReadShape(const JsonFields& fields) {
  constexpr const char* kExpected = "a list of 1 or 2 positive sizes, or an empty one (a single number)";
  const Json* value = fields.Find("shape");
  if (value == nullptr || !value->is_array() || value->size() > 2) return fields.Error("shape", kExpected);
  if (value->empty()) return std::vector<int64_t>{1};
  std::vector<int64_t> shape;
  int64_t elements = 1;
  for (const Json& size : *value) {
    if (!size.is_number_unsigned() || size.get<uint64_t>() == 0 ||
        size.get<uint64_t>() > static_cast<uint64_t>(kMaxTensorElements / elements)) {
      return fields.Error("shape", kExpected);
    }
    shape.push_back(size.get<int64_t>());
    elements *= shape.back();
  }
  return shape;
}

struct Range {
  uint64_t begin;
  uint64_t end;
  std::string name;
};

absl::StatusOr<Range> ReadRange(const JsonFields& fields, uint64_t data_bytes) {
  const Json* value = fields.Find("data_offsets");
  if (value == nullptr || !value->is_array() || value->size() != 2 || !(*value)[0].is_number_unsigned() ||
      !(*value)[1].is_number_unsigned()) {
    return fields.Error("data_offsets", "a list of two byte offsets");
  }
  Range range{(*value)[0].get<uint64_t>(), (*value)[1].get<uint64_t>(), ""};
  if (range.begin > range.end || range.end > data_bytes) {
    return fields.Error("data_offsets", absl::StrCat("ascending offsets within the ", data_bytes,
                                                     " bytes of data (a truncated file?)"));
  }
  return range;
}

absl::StatusOr<TensorView> ReadTensorHeader(const JsonFields& fields, const std::string& name,
                                            absl::Span<const uint8_t> data, Range* range) {
  TensorView tensor;
  tensor.name = name;
  ASSIGN_OR_RETURN(tensor.type, ReadType(fields));
  ASSIGN_OR_RETURN(tensor.shape, ReadShape(fields));
  ASSIGN_OR_RETURN(*range, ReadRange(fields, data.size()));
  range->name = name;
  const uint64_t length = RowBytes(tensor.type, tensor.columns()) * static_cast<uint64_t>(tensor.rows());
  if (range->end - range->begin != length) {
    return fields.Error("data_offsets", absl::StrCat(length, " bytes, as shape and dtype say"));
  }
  tensor.bytes = data.subspan(range->begin, length);
  return tensor;
}

// The format wants the data to be covered without overlap and without gap.
absl::Status CheckRanges(const std::string& where, std::vector<Range> ranges, uint64_t data_bytes) {
  std::sort(ranges.begin(), ranges.end(), [](const Range& a, const Range& b) { return a.begin < b.begin; });
  uint64_t end = 0;
  for (const Range& range : ranges) {
    if (range.begin != end) {
      return absl::InvalidArgumentError(
          absl::StrCat(where, ": tensor `", range.name, "` begins at byte ", range.begin, " of the data; expected ",
                       end, range.begin < end ? " (it overlaps the one before)" : " (there is a gap before it)"));
    }
    end = range.end;
  }
  if (end != data_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": has ", data_bytes, " bytes of data; its header describes ", end));
  }
  return absl::OkStatus();
}

absl::Status BadName(const std::string& where, const std::string& name, const char* expected) {
  return absl::InvalidArgumentError(absl::StrCat(where, ": name ", ShowJson(Json(name)), "; expected ", expected));
}

// A path inside a name would let an index read any file of this machine.
bool IsPlainSafetensorsName(const std::string& name) {
  return name.size() <= kMaxNameBytes && absl::EndsWith(name, ".safetensors") && name.front() != '.' &&
         name.find('/') == std::string::npos && name.find('\0') == std::string::npos;
}

}  // namespace

size_t SafetensorsDataOffset(absl::Span<const uint8_t> file) {
  uint64_t length = 0;
  if (file.size() < kLengthBytes) return 0;
  std::memcpy(&length, file.data(), kLengthBytes);
  if (length > kMaxHeaderBytes || length > file.size() - kLengthBytes) return 0;
  return kLengthBytes + static_cast<size_t>(length);
}

absl::StatusOr<std::vector<TensorView>> ParseSafetensors(const std::string& where, absl::Span<const uint8_t> file) {
  const size_t data_offset = SafetensorsDataOffset(file);
  if (data_offset == 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        where, ": not a safetensors file, or truncated: the length of its header in the first 8 bytes does ",
        "not fit its ", file.size(), " bytes, or exceeds ", kMaxHeaderBytes));
  }
  const absl::string_view header(reinterpret_cast<const char*>(file.data()) + kLengthBytes, data_offset - kLengthBytes);
  const absl::Span<const uint8_t> data = file.subspan(data_offset);
  ASSIGN_OR_RETURN(const Json json, ParseJson(absl::StrCat(where, ": header"), header));
  RETURN_IF_ERROR(JsonFields::Create(absl::StrCat(where, ": header"), json).status());

  std::vector<TensorView> tensors;
  std::vector<Range> ranges;
  for (const auto& [name, value] : json.items()) {
    if (name == "__metadata__") continue;
    if (name.empty() || name.size() > kMaxNameBytes) return BadName(where, name, "1 to 256 bytes");
    ASSIGN_OR_RETURN(const JsonFields fields, JsonFields::Create(absl::StrCat(where, ": tensor `", name, "`"), value));
    Range range;
    ASSIGN_OR_RETURN(TensorView tensor, ReadTensorHeader(fields, name, data, &range));
    tensors.push_back(std::move(tensor));
    ranges.push_back(std::move(range));
  }
  RETURN_IF_ERROR(CheckRanges(where, std::move(ranges), data.size()));
  return tensors;
}

absl::StatusOr<ShardIndex> ParseShardIndex(const std::string& where, const std::string& text) {
  ASSIGN_OR_RETURN(const Json json, ParseJson(where, text));
  ASSIGN_OR_RETURN(const JsonFields fields, JsonFields::Create(where, json));
  const Json* map = fields.Find("weight_map");
  if (map == nullptr || !map->is_object() || map->empty()) {
    return fields.Error("weight_map", "an object from tensor names to file names");
  }
  ShardIndex index;
  std::set<std::string> files;
  for (const auto& [tensor, file] : map->items()) {
    if (!file.is_string() || !IsPlainSafetensorsName(file.get<std::string>())) {
      return BadName(absl::StrCat(where, ": weight_map: the file of `", tensor.substr(0, kMaxNameBytes), "`"),
                     file.is_string() ? file.get<std::string>() : ShowJson(file),
                     "the name of a .safetensors file in the same folder");
    }
    index.entries.push_back({tensor, file.get<std::string>()});
    files.insert(index.entries.back().file);
  }
  if (files.size() > kMaxShards) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": weight_map names ", files.size(), " files; expected at most ", kMaxShards));
  }
  index.files.assign(files.begin(), files.end());
  return index;
}

}  // namespace slmmesh
