// The GGUF container, versions 2 and 3: typed metadata, then tensors. Everything points into the mapped file.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "worker/checkpoint/checkpoint.h"

namespace slmmesh {

// An array of numbers keeps only those that this program reads: integers and floats of all widths become one type each.
using GgufValue = std::variant<bool, int64_t, double, absl::string_view, std::vector<absl::string_view>,
                               std::vector<int64_t>, std::vector<double>>;

// Typed access, with errors that name the file, the key and what was expected. As JsonFields, for GGUF's metadata.
class GgufMetadata {
 public:
  explicit GgufMetadata(std::string where) : where_(std::move(where)) {}

  const std::string& where() const { return where_; }
  // INVALID_ARGUMENT if the key is taken.
  absl::Status Add(absl::string_view key, GgufValue&& value);
  const GgufValue* Find(absl::string_view key) const;

  absl::StatusOr<int64_t> Integer(absl::string_view key, int64_t min, int64_t max) const;
  absl::StatusOr<int64_t> IntegerOr(absl::string_view key, int64_t fallback, int64_t min, int64_t max) const;
  absl::StatusOr<double> Number(absl::string_view key, double min, double max) const;
  absl::StatusOr<double> NumberOr(absl::string_view key, double fallback, double min, double max) const;
  absl::StatusOr<bool> BoolOr(absl::string_view key, bool fallback) const;
  absl::StatusOr<std::string> String(absl::string_view key) const;
  absl::StatusOr<std::string> StringOr(absl::string_view key, std::string fallback) const;
  // A whole array, by type; null when the key is absent.
  template <typename T>
  absl::StatusOr<const std::vector<T>*> Array(absl::string_view key) const {
    const GgufValue* value = Find(key);
    if (value == nullptr) return static_cast<const std::vector<T>*>(nullptr);
    if (const auto* array = std::get_if<std::vector<T>>(value)) return array;
    return Error(key, std::is_same_v<T, absl::string_view> ? "an array of strings" : "an array of numbers");
  }

  absl::Status Error(absl::string_view key, absl::string_view expected) const;

 private:
  std::string where_;
  absl::flat_hash_map<std::string, GgufValue> values_;
};

struct GgufFile {
  GgufMetadata metadata;
  std::vector<TensorView> tensors;  // names as in the file, shapes in Hugging Face's order
  size_t data_offset = 0;           // where the tensors' bytes begin
};

// Refuses what does not fit: counts and lengths beyond the file, unknown types, overlapping tensors, names twice.
absl::StatusOr<GgufFile> ParseGguf(const std::string& where, absl::Span<const uint8_t> file);

}  // namespace slmmesh
