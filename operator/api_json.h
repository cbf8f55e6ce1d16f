// Between the API server's JSON and protobuf messages.
#pragma once

#include <google/protobuf/message.h>
#include <google/protobuf/struct.pb.h>

#include "absl/status/status.h"
#include "nlohmann/json_fwd.hpp"

namespace slmmesh {

google::protobuf::Struct StructFromJson(const nlohmann::json& object);
// Whole numbers come out as integers: the API server refuses 1e+06 where a schema says integer.
nlohmann::json JsonFromStruct(const google::protobuf::Struct& fields);

nlohmann::json JsonFromMessage(const google::protobuf::Message& message);
// Fields that the message does not know are skipped.
absl::Status MessageFromJson(const nlohmann::json& object, google::protobuf::Message* message);

// The merge patch (RFC 7386) that turns `from` into `to`: null for what is gone. An empty object: they are equal.
nlohmann::json MergePatchBetween(const nlohmann::json& from, const nlohmann::json& to);

}  // namespace slmmesh
