// The gRPC face towards routers: GetModel, and one Session stream a router.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/tls.h"
#include "slmmesh/v1/worker.pb.h"
#include "worker/server/seat_leader.h"
#include "worker/server/worker_metrics.h"

namespace slmmesh {

class WorkerServer {
 public:
  struct Options {
    std::string address;  // host:port; port 0 takes a free one
    TlsFiles tls;
    std::string cluster;
    v1::ModelInfo model;
    const SeatLeader* leader = nullptr;  // these two outlive the server
    WorkerMetrics* metrics = nullptr;
  };
  static absl::StatusOr<std::unique_ptr<WorkerServer>> Start(Options options);
  virtual ~WorkerServer() = default;  // ends all streams
  virtual int port() const = 0;
};

}  // namespace slmmesh
