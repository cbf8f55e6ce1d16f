#include "operator/json_message.h"

#include <google/protobuf/util/json_util.h>

#include <string>

namespace slmmesh {

nlohmann::json ToJson(const google::protobuf::Message& message) {
  std::string text;
  if (!google::protobuf::util::MessageToJsonString(message, &text).ok()) return nlohmann::json::object();
  return nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
}

}  // namespace slmmesh
