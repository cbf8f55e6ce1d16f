// Leader election by a coordination.k8s.io Lease, as client-go does it: who holds an unexpired lease leads. Expiry is
// judged by when this process saw the record change, never by the other's clock. Released on Stop, so that a restart
// need not wait.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/time/time.h"
#include "operator/kube/client.h"

namespace slmmesh::kube {

class LeaderElector {
 public:
  struct Options {
    std::string ns;
    std::string name;
    std::string identity;  // the pod's name
    absl::Duration lease_duration = absl::Seconds(15);
    absl::Duration renew_deadline = absl::Seconds(10);  // could not renew for so long: no longer leads
    absl::Duration retry_period = absl::Seconds(2);
    std::function<void()> on_started;  // leads now
    std::function<void()> on_stopped;  // no longer: stop acting before returning
  };
  static std::unique_ptr<LeaderElector> Start(Client* client, Options options);
  virtual ~LeaderElector() = default;  // stops and releases
  virtual bool is_leader() const = 0;
  virtual std::string leader() const = 0;
};

}  // namespace slmmesh::kube
