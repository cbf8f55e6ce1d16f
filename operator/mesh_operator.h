// The whole operator in one process: it watches, and while it leads, it acts.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "operator/kube/config.h"
#include "operator/observed.h"

namespace slmmesh {

class MeshOperator {
 public:
  struct Options {
    kube::Config config;
    std::string ns;                             // its own: Lease and Secrets
    std::vector<std::string> watch_namespaces;  // empty: all
    std::string identity;                       // the pod's name: who leads
    bool leader_elect = true;
    bool adopt_rayclusters = false;
    int threads = 16;
    OperatorSettings settings;
    std::string admin_listen = "127.0.0.1:8443";
    std::string tls_folder;  // gets the operator's own certificate
  };
  // Returns when the master key is there and the watches have started; the API server is waited for.
  static absl::StatusOr<std::unique_ptr<MeshOperator>> Start(Options options);
  virtual ~MeshOperator() = default;  // ends passes between two steps, then gives the lease back
  virtual int admin_port() const = 0;
};

}  // namespace slmmesh
