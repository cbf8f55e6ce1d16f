// Does what a plan says, step by step. It decides nothing, and tells the cache what it did.
#pragma once

#include <atomic>
#include <memory>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "operator/cluster_cache.h"
#include "operator/cluster_certificates.h"
#include "operator/kube/client.h"
#include "operator/kube/events.h"
#include "operator/operator_metrics.h"
#include "operator/plan.h"
#include "operator/table_watcher.h"

namespace slmmesh {

// Thread-safe; all that it is made of outlives it.
class Actor {
 public:
  struct Parts {
    kube::Client* client = nullptr;
    ClusterCache* cache = nullptr;
    std::shared_ptr<ClusterCertificates> certificates;  // shared with what follows heads
    TableWatcher* tables = nullptr;
    kube::EventRecorder* events = nullptr;
    OperatorMetrics* metrics = nullptr;
  };
  explicit Actor(const Parts& parts) : parts_(parts) {}

  // The steps in order, pods that stand next to each other several at a time; the first failure ends it. `stopping`
  // turned true: CANCELLED before the next step.
  absl::Status Act(const ObservedCluster& cluster, const std::vector<Step>& steps, const std::atomic<bool>& stopping);
  void RecordEvent(const ObservedCluster& cluster, bool warning, const std::string& reason, const std::string& message);

 private:
  absl::Status ActOnce(const ObservedCluster& cluster, const Step& step);
  absl::Status Apply(const kube::Resource& resource, CachedKind kind, const ObservedCluster& cluster, const Step& step);
  absl::Status CreatePod(const ObservedCluster& cluster, const Step& step);
  absl::Status CreatePods(const ObservedCluster& cluster, absl::Span<const Step> steps);
  absl::Status DeletePod(const ObservedCluster& cluster, const Step& step);
  absl::Status DeleteDisruptionBudget(const ObservedCluster& cluster, const Step& step);
  absl::Status RollBack(const ObservedCluster& cluster, const Step& step);

  const Parts parts_;
};

}  // namespace slmmesh
