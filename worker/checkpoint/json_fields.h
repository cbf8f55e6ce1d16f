// JSON from files that nobody vouches for: parsed within bounds, and read field by field with errors that name the
// file, the field, the value and what was expected. No exception leaves this file.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace slmmesh {

using Json = nlohmann::json;

// Refuses text that is not JSON, nests deeper than 64, names a key twice in one object, or holds more than `max_values`
// values (each takes some 30 times its shortest spelling in memory). `where` names the text in errors.
absl::StatusOr<Json> ParseJson(const std::string& where, absl::string_view text, int64_t max_values = 1 << 20);

// The value as JSON, cut short, for an error message.
std::string ShowJson(const Json& value);

// Typed access to one object. The object must outlive it. A field that is null counts as absent, as in Python's
// configs.
class JsonFields {
 public:
  // `where`: the file, and the path of this object in it if it is not the outermost.
  // INVALID_ARGUMENT if `value` is not an object.
  static absl::StatusOr<JsonFields> Create(std::string where, const Json& value);

  const std::string& where() const { return where_; }
  // Null unless the field is there and not null.
  const Json* Find(const char* name) const;
  // False also for a field that is there and null.
  bool Has(const char* name) const { return Find(name) != nullptr; }
  // True if the field is there, null or not.
  bool Mentions(const char* name) const { return object_->contains(name); }

  // A required field. Bounds are inclusive.
  absl::StatusOr<int64_t> Integer(const char* name, int64_t min, int64_t max) const;
  absl::StatusOr<double> Number(const char* name, double min, double max) const;
  absl::StatusOr<std::string> String(const char* name) const;
  // The same, with a value for when it is absent or null.
  absl::StatusOr<int64_t> IntegerOr(const char* name, int64_t fallback, int64_t min, int64_t max) const;
  absl::StatusOr<double> NumberOr(const char* name, double fallback, double min, double max) const;
  absl::StatusOr<bool> BoolOr(const char* name, bool fallback) const;
  absl::StatusOr<std::string> StringOr(const char* name, std::string fallback) const;

  // `WHERE: field `NAME` is VALUE; expected EXPECTED`.
  absl::Status Error(const char* name, absl::string_view expected) const;

 private:
  JsonFields(std::string where, const Json* object) : where_(std::move(where)), object_(object) {}

  std::string where_;
  const Json* object_;
};

}  // namespace slmmesh
