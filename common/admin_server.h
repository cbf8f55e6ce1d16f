// The small HTTPS face of every program: GET /metrics, /healthz, /readyz and pages such as /table. /healthz and /readyz
// answer anybody (a kubelet shows no certificate); the rest is for the roles monitor, admin and operator of the
// cluster, and /metrics also for the monitor of all clusters (kMonitoringCluster).
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/metrics.h"
#include "common/tls.h"

namespace slmmesh {

struct AdminPage {
  std::string content_type;
  std::function<std::string()> body;
};

class AdminServer {
 public:
  struct Options {
    std::string address = "127.0.0.1:0";  // host:port; port 0 takes a free one
    TlsFiles tls;
    std::string cluster;
    const Metrics* metrics = nullptr;
    std::function<bool()> ready;  // /readyz: 200 or 503
    std::map<std::string, AdminPage> pages;
  };
  static absl::StatusOr<std::unique_ptr<AdminServer>> Start(Options options);
  virtual ~AdminServer() = default;  // stops
  virtual int port() const = 0;
};

}  // namespace slmmesh
