// From the API server's answer to a status.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json_fwd.hpp"

namespace slmmesh::kube {

// `http_status` is no 2xx; `body` is a Status object, or whatever a proxy in between wrote.
absl::Status ErrorOfResponse(int http_status, absl::string_view body, absl::string_view what);
// Of a Status object (kind: Status), as watches send it.
absl::Status ErrorOfStatusObject(const nlohmann::json& status, absl::string_view what);

// obj[key] as text, or empty when it is absent or no text.
std::string TextAt(const nlohmann::json& object, const char* key);
std::string MetadataTextAt(const nlohmann::json& object, const char* key);

}  // namespace slmmesh::kube
