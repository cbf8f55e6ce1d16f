#include "operator/kube/server_url.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "common/net.h"
#include "common/status.h"

namespace slmmesh::kube {
namespace {

bool HasPort(absl::string_view authority) {
  const size_t colon = authority.rfind(':');
  return colon != absl::string_view::npos && authority.find(']', colon) == absl::string_view::npos;
}

absl::Status UrlError(const std::string& url, absl::string_view reason) {
  return absl::InvalidArgumentError(absl::StrCat("server '", url, "': ", reason));
}

}  // namespace

absl::StatusOr<ServerUrl> ParseServerUrl(const std::string& url) {
  if (url.empty()) return absl::InvalidArgumentError("server is missing; write https://host:port");
  if (absl::StartsWith(url, "http://")) {
    return UrlError(url, "plain HTTP would show credentials to the network; write https://host:port");
  }
  absl::string_view rest = url;
  if (!absl::ConsumePrefix(&rest, "https://")) return UrlError(url, "not an address; write https://host:port");
  for (const char c : rest) {
    if (c <= ' ' || c == '?' || c == '#' || c == '@' || c == 0x7f) {
      return UrlError(url, "spaces, user names and queries are not allowed; write https://host:port");
    }
  }
  const size_t slash = rest.find('/');
  const absl::string_view authority = rest.substr(0, slash);
  ServerUrl server;
  if (slash != absl::string_view::npos) {
    server.path_prefix = std::string(absl::StripSuffix(rest.substr(slash), "/"));
  }
  const std::string address = HasPort(authority) ? std::string(authority) : absl::StrCat(authority, ":443");
  absl::StatusOr<HostPort> split = SplitHostPort(address);
  if (!split.ok()) return UrlError(url, split.status().message());
  if (split->port == 0) return UrlError(url, "port 0 cannot be reached; write the server's port");
  server.host = std::move(split->host);
  server.port = split->port;
  return server;
}

}  // namespace slmmesh::kube
