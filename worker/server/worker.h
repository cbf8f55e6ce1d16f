// The mesh-worker process without its main(): all parts, started in order, ended in order.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "worker/server/worker_config.h"

namespace slmmesh {

// Thread-safe.
class Worker {
 public:
  // Opens and checks the model, listens, then dials the head.
  static absl::StatusOr<std::unique_ptr<Worker>> Start(const WorkerConfig& config);
  virtual ~Worker() = default;  // ends at once what still runs
  virtual std::string grpc_address() const = 0;
  virtual std::string exchange_address() const = 0;
  virtual std::string admin_address() const = 0;  // empty: none
  // The metrics page's text.
  virtual std::string RenderMetrics() const = 0;
  // Finishes what runs, within the config's drain time, and leaves head and group in order. False when weights are
  // still being read: nothing waits for that, the process may exit.
  virtual bool Drain() = 0;
};

}  // namespace slmmesh
