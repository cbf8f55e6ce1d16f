// Addresses written as host:port; an IPv6 host stands in brackets: [::1]:8080.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace slmmesh {

struct HostPort {
  std::string host;  // without brackets
  uint16_t port = 0;
};

absl::StatusOr<HostPort> SplitHostPort(absl::string_view address);
std::string JoinHostPort(absl::string_view host, uint16_t port);

}  // namespace slmmesh
