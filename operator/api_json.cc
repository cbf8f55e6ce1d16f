#include "operator/api_json.h"

#include <google/protobuf/util/json_util.h>

#include <cmath>
#include <cstdint>
#include <string>

#include "nlohmann/json.hpp"
#include "operator/json_message.h"

namespace slmmesh {
namespace {

using google::protobuf::Struct;
using google::protobuf::Value;
using nlohmann::json;

constexpr double kLargestExactInteger = 9007199254740992.0;  // 2^53

void SetValue(const json& from, Value* to) {
  if (from.is_object()) {
    *to->mutable_struct_value() = StructFromJson(from);
  } else if (from.is_array()) {
    auto* list = to->mutable_list_value();
    for (const json& item : from) SetValue(item, list->add_values());
  } else if (from.is_string()) {
    to->set_string_value(from.get<std::string>());
  } else if (from.is_boolean()) {
    to->set_bool_value(from.get<bool>());
  } else if (from.is_number()) {
    to->set_number_value(from.get<double>());
  } else {
    to->set_null_value(google::protobuf::NULL_VALUE);
  }
}

json NumberAsJson(double number) {
  if (std::trunc(number) == number && std::abs(number) <= kLargestExactInteger) return static_cast<int64_t>(number);
  return number;
}

json ValueAsJson(const Value& value) {
  switch (value.kind_case()) {
    case Value::kStructValue:
      return JsonFromStruct(value.struct_value());
    case Value::kListValue: {
      json list = json::array();
      for (const Value& item : value.list_value().values()) list.push_back(ValueAsJson(item));
      return list;
    }
    case Value::kStringValue:
      return value.string_value();
    case Value::kBoolValue:
      return value.bool_value();
    case Value::kNumberValue:
      return NumberAsJson(value.number_value());
    default:
      return nullptr;
  }
}

void MakeWhole(json& value) {
  if (value.is_number_float()) {
    value = NumberAsJson(value.get<double>());
  } else if (value.is_structured()) {
    for (json& item : value) MakeWhole(item);
  }
}

}  // namespace

Struct StructFromJson(const json& object) {
  Struct result;
  for (const auto& [name, value] : object.items()) SetValue(value, &(*result.mutable_fields())[name]);
  return result;
}

json JsonFromStruct(const Struct& fields) {
  json result = json::object();
  for (const auto& [name, value] : fields.fields()) result[name] = ValueAsJson(value);
  return result;
}

json JsonFromMessage(const google::protobuf::Message& message) {
  json result = ToJson(message);
  MakeWhole(result);
  return result;
}

absl::Status MessageFromJson(const json& object, google::protobuf::Message* message) {
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = true;
  const auto status = google::protobuf::util::JsonStringToMessage(object.dump(), message, options);
  return status.ok() ? absl::OkStatus() : absl::InvalidArgumentError(std::string(status.message()));
}

json MergePatchBetween(const json& from, const json& to) {
  json patch = json::object();
  for (const auto& [name, value] : to.items()) {
    if (!from.contains(name)) {
      patch[name] = value;
    } else if (from[name] != value) {
      const bool both_objects = from[name].is_object() && value.is_object();
      patch[name] = both_objects ? MergePatchBetween(from[name], value) : value;
    }
  }
  for (const auto& [name, value] : from.items()) {
    if (!to.contains(name)) patch[name] = nullptr;
  }
  return patch;
}

}  // namespace slmmesh
