#include "common/net.h"

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace slmmesh {
namespace {

absl::Status AddressError(absl::string_view address, absl::string_view reason) {
  return absl::InvalidArgumentError(absl::StrCat("address '", address, "': ", reason));
}

bool IsDigits(absl::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == absl::string_view::npos;
}

}  // namespace

absl::StatusOr<HostPort> SplitHostPort(absl::string_view address) {
  const size_t colon = address.rfind(':');
  if (colon == absl::string_view::npos) return AddressError(address, "the port is missing; write host:port");
  absl::string_view host = address.substr(0, colon);
  const absl::string_view port_text = address.substr(colon + 1);
  if (absl::StartsWith(host, "[")) {
    if (!absl::EndsWith(host, "]")) return AddressError(address, "the bracket is not closed; write [host]:port");
    host = host.substr(1, host.size() - 2);
  } else if (absl::StrContains(host, ":")) {
    return AddressError(address, "an IPv6 host needs brackets; write [host]:port");
  }
  if (host.empty()) return AddressError(address, "the host is missing; write host:port, or 0.0.0.0:port for all");
  uint32_t port = 0;
  if (!IsDigits(port_text) || !absl::SimpleAtoi(port_text, &port) || port > 65535) {
    return AddressError(address, absl::StrCat("the port '", port_text, "' is no number from 0 to 65535"));
  }
  return HostPort{std::string(host), static_cast<uint16_t>(port)};
}

std::string JoinHostPort(absl::string_view host, uint16_t port) {
  if (absl::StrContains(host, ":")) return absl::StrCat("[", host, "]:", port);
  return absl::StrCat(host, ":", port);
}

}  // namespace slmmesh
