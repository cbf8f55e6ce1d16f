// One HTTP/1.1 connection over TLS to the API server. Blocking, with a deadline on every step. Used by one thread at a
// time.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "operator/kube/credentials.h"
#include "operator/kube/server_url.h"

namespace slmmesh::kube {

// How long a step may take: until `deadline` (of Clock::Real()), or until `cancelled` (may be empty) returns true,
// which is asked a few times a second.
struct Patience {
  absl::Time deadline;
  std::function<bool()> cancelled;
};

struct HttpRequest {
  std::string method;
  std::string target;  // path and query
  std::string content_type;
  std::string token;
  std::string user_agent;
  std::string body;
};

struct HttpHead {
  int status = 0;
  std::string retry_after;
};

class Connection {
 public:
  // The certificate must be for `tls_name`: a DNS name or an IP address.
  static absl::StatusOr<std::unique_ptr<Connection>> Open(const ServerUrl& server, const std::string& tls_name,
                                                          const Credentials::Tls& tls, const Patience& patience);
  virtual ~Connection() = default;

  virtual absl::Status Send(HttpRequest request, const Patience& patience) = 0;
  virtual absl::StatusOr<HttpHead> ReadHead(const Patience& patience) = 0;
  // The next bytes of the body as they arrive, valid until the next call; empty at its end.
  virtual absl::StatusOr<absl::string_view> ReadBody(const Patience& patience) = 0;

  virtual bool answered() const = 0;  // the server said something since Send()
  virtual bool reusable() const = 0;  // the response was read to its end and the server keeps the connection
  virtual bool Stale() const = 0;     // the server closed it, or spoke out of turn, while it was idle
  virtual uint64_t generation() const = 0;
};

}  // namespace slmmesh::kube
