// observe → plan → act → status, for one cluster at a time. All decisions are in the plan.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/clock.h"
#include "operator/actor.h"

namespace slmmesh {

// Thread-safe, as long as no two threads have the same key.
class Reconciler {
 public:
  using Planner = std::function<ClusterPlan(const Observed&, const OperatorSettings&, absl::Time now)>;
  struct Options {
    Actor::Parts parts;
    OperatorSettings settings;
    Planner planner = PlanCluster;
    const Clock* clock = &Clock::Real();
    absl::Duration load_status_interval = absl::Seconds(15);  // of statuses that differ in loads alone
    // Other clusters wait for a pass, a burst of them: pods are made first, for all, and the rest by a second pass.
    std::function<bool()> is_burst = [] { return false; };
  };
  explicit Reconciler(Options options) : options_(std::move(options)), actor_(options_.parts) {}

  // One pass. When to look again: zero for at once, infinite for at the next change. An error: again, a little later.
  absl::StatusOr<absl::Duration> Reconcile(const std::string& key);
  // Passes end before their next step.
  void RequestStop() { stopping_ = true; }

 private:
  std::optional<Observed> Observe(const std::string& key);
  void FollowHead(const std::string& key, const Observed& observed);
  // Plans again with what was done, so that the status tells of that, too. Whether there is more to do.
  bool PlanAfterwards(const std::string& key, ClusterPlan* plan);
  absl::StatusOr<absl::Duration> WriteStatus(const std::string& key, const ObservedCluster& cluster,
                                             const v1::InferenceClusterStatus& status);
  // How long a status that differs in loads alone still waits.
  absl::Duration LoadStatusWait(const std::string& key);
  void Forget(const std::string& key);

  const Options options_;
  Actor actor_;
  std::atomic<bool> stopping_{false};
  absl::Mutex mutex_;
  std::map<std::string, absl::Time> status_written_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace slmmesh
