// Reading JSON of others: an absent field, or one of another type, reads as empty.
#pragma once

#include <string>

#include "nlohmann/json.hpp"

namespace slmmesh {

inline const nlohmann::json& FieldOf(const nlohmann::json& object, const char* name) {
  static const nlohmann::json nothing;
  if (!object.is_object()) return nothing;
  const auto field = object.find(name);
  return field == object.end() ? nothing : *field;
}

inline std::string TextOf(const nlohmann::json& object, const char* name) {
  const nlohmann::json& field = FieldOf(object, name);
  return field.is_string() ? field.get<std::string>() : std::string();
}

inline int64_t NumberOf(const nlohmann::json& object, const char* name) {
  const nlohmann::json& field = FieldOf(object, name);
  return field.is_number() ? field.get<int64_t>() : 0;
}

inline bool TruthOf(const nlohmann::json& object, const char* name) {
  const nlohmann::json& field = FieldOf(object, name);
  return field.is_boolean() && field.get<bool>();
}

}  // namespace slmmesh
