// The head's gRPC face: Join, Watch, GetTable, Observe and SetDraining over mutual TLS, in front of one Membership.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/metrics.h"
#include "common/tls.h"
#include "head/membership.h"

namespace slmmesh {

// Thread-safe. Runs gRPC's own threads and one that lets the membership's time pass.
class HeadServer {
 public:
  struct Options {
    std::string address = "127.0.0.1:0";  // host:port; port 0 takes a free one
    TlsFiles tls;
    std::string cluster;
    MembershipOptions membership;
    Metrics* metrics = nullptr;  // optional; outlives the server
  };
  static absl::StatusOr<std::unique_ptr<HeadServer>> Start(const Options& options);
  virtual ~HeadServer() = default;  // ends all streams and stops
  virtual int port() const = 0;
  virtual bool settled() const = 0;  // see Membership
  virtual v1::ClusterTable Table() const = 0;
};

}  // namespace slmmesh
