// The API server's address, taken apart.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace slmmesh::kube {

struct ServerUrl {
  std::string host;  // without brackets
  uint16_t port = 443;
  std::string path_prefix;  // "" or "/k8s/clusters/a": servers behind a gateway
};

// https://host[:port][/prefix]. INVALID_ARGUMENT says what to write instead.
absl::StatusOr<ServerUrl> ParseServerUrl(const std::string& url);

}  // namespace slmmesh::kube
