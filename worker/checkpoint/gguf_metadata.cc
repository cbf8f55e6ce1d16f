#include <optional>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "worker/checkpoint/gguf_file.h"

namespace slmmesh {
namespace {

std::string Show(const GgufValue* value) {
  constexpr size_t kMaxShown = 60;
  if (value == nullptr) return "missing";
  if (const auto* flag = std::get_if<bool>(value)) return *flag ? "true" : "false";
  if (const auto* integer = std::get_if<int64_t>(value)) return absl::StrCat(*integer);
  if (const auto* number = std::get_if<double>(value)) return absl::StrCat(*number);
  if (const auto* text = std::get_if<absl::string_view>(value)) {
    return absl::StrCat("\"", absl::CHexEscape(text->substr(0, kMaxShown)), text->size() > kMaxShown ? "…\"" : "\"");
  }
  if (const auto* strings = std::get_if<std::vector<absl::string_view>>(value)) {
    return absl::StrCat("an array of ", strings->size(), " strings");
  }
  return "an array of numbers";
}

std::optional<double> AsNumber(const GgufValue* value) {
  if (value == nullptr) return std::nullopt;
  if (const auto* number = std::get_if<double>(value)) return *number;
  if (const auto* integer = std::get_if<int64_t>(value)) return static_cast<double>(*integer);
  return std::nullopt;
}

}  // namespace

absl::Status GgufMetadata::Add(absl::string_view key, GgufValue&& value) {
  if (!values_.try_emplace(std::string(key), std::move(value)).second) {
    return absl::InvalidArgumentError(
        absl::StrCat(where_, ": metadata key `", absl::CHexEscape(key.substr(0, 80)), "` is there twice"));
  }
  return absl::OkStatus();
}

const GgufValue* GgufMetadata::Find(absl::string_view key) const {
  const auto found = values_.find(key);
  return found == values_.end() ? nullptr : &found->second;
}

absl::Status GgufMetadata::Error(absl::string_view key, absl::string_view expected) const {
  return absl::InvalidArgumentError(
      absl::StrCat(where_, ": metadata `", key, "` is ", Show(Find(key)), "; expected ", expected));
}

absl::StatusOr<int64_t> GgufMetadata::Integer(absl::string_view key, int64_t min, int64_t max) const {
  const GgufValue* value = Find(key);
  const auto* integer = value == nullptr ? nullptr : std::get_if<int64_t>(value);
  if (integer == nullptr || *integer < min || *integer > max) {
    return Error(key, absl::StrCat("an integer from ", min, " to ", max));
  }
  return *integer;
}

absl::StatusOr<int64_t> GgufMetadata::IntegerOr(absl::string_view key, int64_t fallback, int64_t min,
                                                int64_t max) const {
  if (Find(key) == nullptr) return fallback;
  return Integer(key, min, max);
}

absl::StatusOr<double> GgufMetadata::Number(absl::string_view key, double min, double max) const {
  const std::optional<double> number = AsNumber(Find(key));
  // Written so that NaN is out of bounds.
  if (!number || !(*number >= min && *number <= max)) {
    return Error(key, absl::StrCat("a number from ", min, " to ", max));
  }
  return *number;
}

absl::StatusOr<double> GgufMetadata::NumberOr(absl::string_view key, double fallback, double min, double max) const {
  if (Find(key) == nullptr) return fallback;
  return Number(key, min, max);
}

absl::StatusOr<bool> GgufMetadata::BoolOr(absl::string_view key, bool fallback) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return fallback;
  if (const auto* flag = std::get_if<bool>(value)) return *flag;
  return Error(key, "true or false");
}

absl::StatusOr<std::string> GgufMetadata::String(absl::string_view key) const {
  const GgufValue* value = Find(key);
  const auto* text = value == nullptr ? nullptr : std::get_if<absl::string_view>(value);
  if (text == nullptr) return Error(key, "a string");
  return std::string(*text);
}

absl::StatusOr<std::string> GgufMetadata::StringOr(absl::string_view key, std::string fallback) const {
  if (Find(key) == nullptr) return fallback;
  return String(key);
}

}  // namespace slmmesh
