#include "router/openai/field_reader.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "router/openai/api_error.h"
#include "router/openai/json_text.h"

namespace slmmesh {
namespace {

using nlohmann::json;

constexpr int kMaxDepth = 64;

bool DeeperThan(absl::string_view text, int max_depth) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      if (++depth > max_depth) return true;
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return false;
}

}  // namespace

absl::StatusOr<json> ParseJsonObject(absl::string_view text) {
  if (DeeperThan(text, kMaxDepth)) {
    return absl::InvalidArgumentError(absl::StrCat("body: JSON is nested deeper than ", kMaxDepth, " levels"));
  }
  json value = json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (value.is_discarded()) return absl::InvalidArgumentError("body: not valid JSON (RFC 8259, UTF-8)");
  if (!value.is_object()) return absl::InvalidArgumentError("body: must be a JSON object");
  return value;
}

std::string ShowJson(const json& value) {
  if (value.is_array() && value.size() > 8) return absl::StrCat("an array of ", value.size());
  return CutText(value.dump(-1, ' ', false, json::error_handler_t::replace), 64);
}

FieldReader::FieldReader(const json& object, std::string prefix) : prefix_(std::move(prefix)) {
  fields_.reserve(object.size());
  for (const auto& [name, value] : object.get_ref<const json::object_t&>()) fields_.push_back({name, &value});
}

const json* FieldReader::Find(absl::string_view name) {
  if (failed()) return nullptr;
  for (Field& field : fields_) {
    if (field.name != name) continue;
    field.known = true;
    return field.value->is_null() ? nullptr : field.value;
  }
  return nullptr;
}

const json* FieldReader::Take(absl::string_view name) { return Find(name); }

void FieldReader::Fail(absl::string_view name, absl::string_view message) {
  if (!failed()) status_ = RefuseField(absl::StrCat(prefix_, name), message);
}

void FieldReader::Fail(absl::Status status) {
  if (!failed()) status_ = std::move(status);
}

void FieldReader::WrongType(absl::string_view name, const json& value, absl::string_view want) {
  Fail(name, absl::StrCat(ShowJson(value), " is not ", want));
}

void FieldReader::Float(absl::string_view name, double min, double max, std::optional<float>* out) {
  const json* value = Find(name);
  if (value == nullptr) return;
  if (!value->is_number()) return WrongType(name, *value, "a number");
  const double number = value->get<double>();
  if (!(number >= min && number <= max)) {
    return Fail(name, absl::StrCat(ShowJson(*value), " is out of range; give a number from ", min, " to ", max));
  }
  *out = static_cast<float>(number);
}

void FieldReader::Unsigned(absl::string_view name, uint32_t min, uint32_t max, std::optional<uint32_t>* out) {
  const json* value = Find(name);
  if (value == nullptr) return;
  if (!value->is_number_integer()) return WrongType(name, *value, "an integer");
  const bool in_range = value->is_number_unsigned() ? value->get<uint64_t>() >= min && value->get<uint64_t>() <= max
                                                    : false;  // nlohmann keeps negative numbers alone as signed
  if (!in_range) {
    return Fail(name, absl::StrCat(ShowJson(*value), " is out of range; give an integer from ", min, " to ", max));
  }
  *out = static_cast<uint32_t>(value->get<uint64_t>());
}

void FieldReader::Boolean(absl::string_view name, bool* out) {
  const json* value = Find(name);
  if (value == nullptr) return;
  if (!value->is_boolean()) return WrongType(name, *value, "true or false");
  *out = value->get<bool>();
}

void FieldReader::String(absl::string_view name, size_t max_bytes, std::string* out) {
  const json* value = Find(name);
  if (value == nullptr) return;
  if (!value->is_string()) return WrongType(name, *value, "a string");
  const auto& text = value->get_ref<const std::string&>();
  if (text.size() > max_bytes) {
    return Fail(name, absl::StrCat(text.size(), " bytes are too long; give at most ", max_bytes));
  }
  *out = text;
}

void FieldReader::Ignore(std::initializer_list<absl::string_view> names) {
  for (absl::string_view name : names) Find(name);
}

void FieldReader::NotSupported(std::initializer_list<absl::string_view> names) {
  for (absl::string_view name : names) {
    if (Find(name) != nullptr) Fail(name, "not supported here; leave it out");
  }
}

absl::Status FieldReader::Finish() {
  for (const Field& field : fields_) {
    if (!field.known) Fail(CutText(field.name, 64), "unknown field; leave it out");
  }
  return status_;
}

}  // namespace slmmesh
