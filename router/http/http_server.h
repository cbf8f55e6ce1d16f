// HTTP/1.1 for clients: accepts, spreads connections over the loops, holds the limits. TLS when given a certificate,
// which is re-read when its files change; plaintext otherwise.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "router/http/http_message.h"
#include "router/metrics.h"

namespace slmmesh {

class HttpServer {
 public:
  struct Options {
    std::string address = "127.0.0.1:8080";
    std::string tls_cert_file;  // both or none
    std::string tls_key_file;
    bool allow_plaintext = false;  // also beyond loopback
    HttpLimits limits;
    std::vector<Loop*> loops;  // not started yet: the server adds itself to their ticks
    HttpHandler* handler = nullptr;
    RouterMetrics* metrics = nullptr;
  };
  // Listens; connections are served once the loops run. Destroy the server when the loops have
  // ended, and before them.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Listen(Options options);
  virtual ~HttpServer() = default;
  virtual std::string address() const = 0;  // host:port, the port that was taken
  virtual bool is_loopback() const = 0;
  // Accepts no more; idle connections end now, busy ones with their answer. Any thread, while the loops run.
  virtual void Drain() = 0;
  virtual uint32_t open_connections() const = 0;
};

}  // namespace slmmesh
