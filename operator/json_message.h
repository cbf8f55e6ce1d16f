// Protobuf messages as JSON values, keys sorted: equal messages give equal text, which a map in a message does not.
#pragma once

#include <google/protobuf/message.h>

#include "nlohmann/json.hpp"

namespace slmmesh {

nlohmann::json ToJson(const google::protobuf::Message& message);

}  // namespace slmmesh
