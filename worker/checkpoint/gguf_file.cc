#include "worker/checkpoint/gguf_file.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <type_traits>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/status.h"
#include "worker/checkpoint/tensor_table.h"

namespace slmmesh {
namespace {

constexpr uint64_t kMaxEntries = 1 << 16;  // of metadata, and tensors
constexpr uint64_t kMaxArray = 1 << 22;
constexpr uint64_t kMaxNameBytes = 256;
constexpr uint64_t kMaxSize = uint64_t{1} << 40;  // of one dimension
constexpr uint64_t kMaxAlignment = 1 << 16;

// The format's codes of metadata types.
enum ValueCode : uint32_t {
  kUint8,
  kInt8,
  kUint16,
  kInt16,
  kUint32,
  kInt32,
  kFloat32,
  kBool,
  kString,
  kArray,
  kUint64,
  kInt64,
  kFloat64
};

// Reads forward; a read past the end gives zeros and marks the cursor as failed for good.
class Cursor {
 public:
  explicit Cursor(absl::Span<const uint8_t> bytes) : bytes_(bytes) {}
  bool failed() const { return failed_; }
  size_t position() const { return position_; }
  size_t left() const { return bytes_.size() - position_; }

  template <typename T>
  T Read() {
    T value{};
    if (left() < sizeof value) {
      failed_ = true;
    } else {
      std::memcpy(&value, bytes_.data() + position_, sizeof value);
      position_ += sizeof value;
    }
    return value;
  }
  absl::string_view ReadString() {
    const uint64_t length = Read<uint64_t>();
    if (failed_ || length > left()) {
      failed_ = true;
      return "";
    }
    const absl::string_view text(reinterpret_cast<const char*>(bytes_.data() + position_), length);
    position_ += length;
    return text;
  }

 private:
  absl::Span<const uint8_t> bytes_;
  size_t position_ = 0;
  bool failed_ = false;
};

absl::Status Truncated(const std::string& where, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(where, ": ends within ", what, " (a truncated file?)"));
}

// An unsigned 64-bit value beyond int64 becomes the largest int64, which every bound refuses.
template <typename T>
int64_t ReadInteger(Cursor& cursor) {
  const T value = cursor.Read<T>();
  if constexpr (std::is_same_v<T, uint64_t>) return static_cast<int64_t>(std::min(value, uint64_t{INT64_MAX}));
  return static_cast<int64_t>(value);
}

std::optional<GgufValue> ReadScalar(Cursor& cursor, uint32_t code) {
  switch (code) {
    case kUint8:
      return ReadInteger<uint8_t>(cursor);
    case kInt8:
      return ReadInteger<int8_t>(cursor);
    case kUint16:
      return ReadInteger<uint16_t>(cursor);
    case kInt16:
      return ReadInteger<int16_t>(cursor);
    case kUint32:
      return ReadInteger<uint32_t>(cursor);
    case kInt32:
      return ReadInteger<int32_t>(cursor);
    case kUint64:
      return ReadInteger<uint64_t>(cursor);
    case kInt64:
      return ReadInteger<int64_t>(cursor);
    case kFloat32:
      return static_cast<double>(cursor.Read<float>());
    case kFloat64:
      return cursor.Read<double>();
    case kBool:
      return cursor.Read<uint8_t>() != 0;
    case kString:
      return cursor.ReadString();
    default:
      return std::nullopt;
  }
}

template <typename T>
std::optional<GgufValue> ReadElements(Cursor& cursor, uint32_t code, uint64_t count) {
  std::vector<T> elements;
  // Every element takes at least a byte: a false count reserves no more than the file's size.
  elements.reserve(std::min<uint64_t>(count, cursor.left()));
  for (uint64_t i = 0; i < count && !cursor.failed(); ++i) {
    std::optional<GgufValue> element = ReadScalar(cursor, code);
    if (!element) return std::nullopt;
    elements.push_back(std::get<T>(*element));
  }
  return GgufValue(std::move(elements));
}

// Nothing for an unknown type, a nested array, or one too long.
std::optional<GgufValue> ReadArray(Cursor& cursor) {
  const uint32_t code = cursor.Read<uint32_t>();
  const uint64_t count = cursor.Read<uint64_t>();
  if (cursor.failed() || count > kMaxArray) return std::nullopt;
  if (code == kString) return ReadElements<absl::string_view>(cursor, code, count);
  if (code == kFloat32 || code == kFloat64) return ReadElements<double>(cursor, code, count);
  if (code == kBool) return ReadElements<int64_t>(cursor, kUint8, count);
  return code == kArray ? std::nullopt : ReadElements<int64_t>(cursor, code, count);
}

absl::Status ReadMetadata(Cursor& cursor, uint64_t count, GgufMetadata& metadata) {
  for (uint64_t i = 0; i < count; ++i) {
    const absl::string_view key = cursor.ReadString();
    const uint32_t code = cursor.Read<uint32_t>();
    if (cursor.failed()) return Truncated(metadata.where(), "its metadata");
    std::optional<GgufValue> value = code == kArray ? ReadArray(cursor) : ReadScalar(cursor, code);
    if (cursor.failed()) return Truncated(metadata.where(), "its metadata");
    if (!value) {
      return absl::InvalidArgumentError(
          absl::StrCat(metadata.where(), ": metadata `", absl::CHexEscape(key.substr(0, 80)), "` has type ", code,
                       "; expected a scalar, a string, or a flat array of at most ", kMaxArray));
    }
    RETURN_IF_ERROR(metadata.Add(key, *std::move(value)));
  }
  return absl::OkStatus();
}

std::optional<TensorType> TypeOfCode(uint32_t code) {
  switch (code) {
    case 0:
      return TensorType::kF32;
    case 1:
      return TensorType::kF16;
    case 2:
      return TensorType::kQ4_0;
    case 3:
      return TensorType::kQ4_1;
    case 8:
      return TensorType::kQ8_0;
    case 12:
      return TensorType::kQ4_K;
    case 13:
      return TensorType::kQ5_K;
    case 14:
      return TensorType::kQ6_K;
    case 30:
      return TensorType::kBF16;
    default:
      return std::nullopt;
  }
}

// For errors only: types that other programs write.
std::string NameOfCode(uint32_t code) {
  static constexpr std::pair<uint32_t, const char*> kNames[] = {
      {6, "Q5_0"}, {7, "Q5_1"}, {9, "Q8_1"}, {10, "Q2_K"}, {11, "Q3_K"}};
  for (const auto& [known, name] : kNames) {
    if (known == code) return name;
  }
  return absl::StrCat("number ", code);
}

struct TensorInfo {
  TensorView tensor;  // without its bytes
  uint64_t offset = 0;
  uint64_t length = 0;
};

absl::StatusOr<TensorInfo> ReadTensorInfo(const std::string& where, Cursor& cursor) {
  const absl::string_view name = cursor.ReadString();
  const uint32_t dimensions = cursor.Read<uint32_t>();
  if (cursor.failed()) return Truncated(where, "its list of tensors");
  const std::string tensor = absl::StrCat(where, ": tensor `", absl::CHexEscape(name.substr(0, 80)), "`");
  if (name.empty() || name.size() > kMaxNameBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(tensor, " has a name of ", name.size(), " bytes; expected 1 to ", kMaxNameBytes));
  }
  if (dimensions < 1 || dimensions > 2) {
    return absl::InvalidArgumentError(absl::StrCat(tensor, " has ", dimensions, " dimensions; expected 1 or 2"));
  }
  uint64_t sizes[2] = {1, 1};  // the fastest first
  for (uint32_t d = 0; d < dimensions; ++d) sizes[d] = cursor.Read<uint64_t>();
  const uint32_t code = cursor.Read<uint32_t>();
  TensorInfo info;
  info.offset = cursor.Read<uint64_t>();
  if (cursor.failed()) return Truncated(where, "its list of tensors");

  const std::optional<TensorType> type = TypeOfCode(code);
  if (!type) {
    return absl::InvalidArgumentError(absl::StrCat(tensor, " has type ", NameOfCode(code),
                                                   "; expected F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q4_K, Q5_K or Q6_K"));
  }
  if (sizes[0] == 0 || sizes[1] == 0 || sizes[0] > kMaxSize || sizes[1] > kMaxSize / sizes[0]) {
    return absl::InvalidArgumentError(
        absl::StrCat(tensor, " has sizes ", sizes[0], " and ", sizes[1], "; expected 1 to ", kMaxSize, " elements"));
  }
  const uint64_t row_bytes = RowBytes(*type, static_cast<int64_t>(sizes[0]));
  if (row_bytes == 0) {
    return absl::InvalidArgumentError(absl::StrCat(tensor, " has rows of ", sizes[0], " elements; expected a multiple ",
                                                   "of ", BlockElements(*type), " for type ", TensorTypeName(*type)));
  }
  info.tensor.name = std::string(name);
  info.tensor.type = *type;
  if (dimensions == 2) info.tensor.shape.push_back(static_cast<int64_t>(sizes[1]));
  info.tensor.shape.push_back(static_cast<int64_t>(sizes[0]));
  info.length = row_bytes * sizes[1];
  return info;
}

// Gives every tensor its bytes. Offsets must be aligned, within the file, and not overlap.
absl::Status PlaceTensors(const std::string& where, absl::Span<const uint8_t> data, uint64_t alignment,
                          std::vector<TensorInfo>& infos) {
  std::sort(infos.begin(), infos.end(), [](const TensorInfo& a, const TensorInfo& b) { return a.offset < b.offset; });
  uint64_t end = 0;
  for (TensorInfo& info : infos) {
    const std::string tensor = absl::StrCat(where, ": tensor `", absl::CHexEscape(info.tensor.name), "`");
    if (info.offset % alignment != 0) {
      return absl::InvalidArgumentError(
          absl::StrCat(tensor, " has offset ", info.offset, "; expected a multiple of ", alignment));
    }
    if (info.offset < end) {
      return absl::InvalidArgumentError(absl::StrCat(tensor, " has offset ", info.offset, "; expected at least ", end,
                                                     ", where the tensor before it ends"));
    }
    if (info.offset > data.size() || info.length > data.size() - info.offset) {
      return absl::InvalidArgumentError(absl::StrCat(tensor, " takes ", info.length, " bytes at offset ", info.offset,
                                                     "; there are ", data.size(),
                                                     " bytes of data (a truncated file?)"));
    }
    info.tensor.bytes = data.subspan(info.offset, info.length);
    end = info.offset + info.length;
  }
  return absl::OkStatus();
}

absl::Status CheckVersion(const std::string& where, Cursor& cursor) {
  const uint32_t magic = cursor.Read<uint32_t>();
  const uint32_t version = cursor.Read<uint32_t>();
  if (cursor.failed() || magic != 0x46554747) {  // "GGUF"
    return absl::InvalidArgumentError(absl::StrCat(where, ": is not a GGUF file (its first bytes are not GGUF)"));
  }
  if (version != 2 && version != 3) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": is GGUF version ", version, "; expected 2 or 3, in little-endian byte order"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<GgufFile> ParseGguf(const std::string& where, absl::Span<const uint8_t> file) {
  Cursor cursor(file);
  RETURN_IF_ERROR(CheckVersion(where, cursor));
  const uint64_t num_tensors = cursor.Read<uint64_t>();
  const uint64_t num_metadata = cursor.Read<uint64_t>();
  if (cursor.failed()) return Truncated(where, "its header");
  if (num_tensors > kMaxEntries || num_metadata > kMaxEntries) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": announces ", num_tensors, " tensors and ", num_metadata,
                                                   " metadata entries; expected at most ", kMaxEntries, " of each"));
  }
  GgufFile result{GgufMetadata(where), {}, 0};
  RETURN_IF_ERROR(ReadMetadata(cursor, num_metadata, result.metadata));
  ASSIGN_OR_RETURN(const int64_t alignment, result.metadata.IntegerOr("general.alignment", 32, 8, kMaxAlignment));
  if ((alignment & (alignment - 1)) != 0) return result.metadata.Error("general.alignment", "a power of two");

  std::vector<TensorInfo> infos;
  absl::flat_hash_set<std::string> names;
  for (uint64_t i = 0; i < num_tensors; ++i) {
    ASSIGN_OR_RETURN(TensorInfo info, ReadTensorInfo(where, cursor));
    if (!names.insert(info.tensor.name).second) {
      return absl::InvalidArgumentError(
          absl::StrCat(where, ": tensor `", absl::CHexEscape(info.tensor.name), "` is there twice"));
    }
    infos.push_back(std::move(info));
  }
  const uint64_t step = static_cast<uint64_t>(alignment);
  result.data_offset = std::min<uint64_t>((cursor.position() + step - 1) / step * step, file.size());
  RETURN_IF_ERROR(PlaceTensors(where, file.subspan(result.data_offset), step, infos));
  for (TensorInfo& info : infos) result.tensors.push_back(std::move(info.tensor));
  return result;
}

}  // namespace slmmesh
