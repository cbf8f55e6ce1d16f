// Strict reading of one JSON object: every field has a type and a range, null means absent, and a field that nobody
// knows is refused by name. The first refusal is kept; later reads do nothing, so callers check once, at Finish().
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace slmmesh {

// Bounded in depth (recursion of what reads it later); INVALID_ARGUMENT for anything but one JSON object.
absl::StatusOr<nlohmann::json> ParseJsonObject(absl::string_view text);

// One thread. `object` must outlive the reader.
class FieldReader {
 public:
  // `prefix` stands before field names in messages: "messages[2]." for a nested object.
  explicit FieldReader(const nlohmann::json& object, std::string prefix = "");

  void Float(absl::string_view name, double min, double max, std::optional<float>* out);
  void Unsigned(absl::string_view name, uint32_t min, uint32_t max, std::optional<uint32_t>* out);
  void Boolean(absl::string_view name, bool* out);
  void String(absl::string_view name, size_t max_bytes, std::string* out);
  // For what has a shape of its own: the value, or nullptr when absent or null.
  const nlohmann::json* Take(absl::string_view name);
  // Fields that change nothing here: any value is taken and ignored.
  void Ignore(std::initializer_list<absl::string_view> names);
  // Fields that would change the answer and are not there: any value but null is refused.
  void NotSupported(std::initializer_list<absl::string_view> names);

  void Fail(absl::string_view name, absl::string_view message);
  void Fail(absl::Status status);
  bool failed() const { return !status_.ok(); }
  absl::Status Finish();

 private:
  struct Field {
    absl::string_view name;
    const nlohmann::json* value;
    bool known = false;  // somebody asked for it
  };
  const nlohmann::json* Find(absl::string_view name);
  void WrongType(absl::string_view name, const nlohmann::json& value, absl::string_view want);

  const std::string prefix_;
  std::vector<Field> fields_;  // of the object: a few, of which many names are looked for
  absl::Status status_;
};

// The value as it stands in a message: cut short.
std::string ShowJson(const nlohmann::json& value);

}  // namespace slmmesh
