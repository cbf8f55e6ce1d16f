// The threads that take clusters from the queue and reconcile them, while this operator leads.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "operator/adopt.h"
#include "operator/kube/work_queue.h"
#include "operator/reconciler.h"

namespace slmmesh {

// Thread-safe.
class ReconcileThreads {
 public:
  struct Options {
    kube::Client* client = nullptr;
    ClusterCache* cache = nullptr;
    std::shared_ptr<ClusterCertificates> certificates;
    OperatorMetrics* metrics = nullptr;
    OperatorSettings settings;
    int threads = 16;
    bool adopt_rayclusters = false;
    std::vector<std::string> watch_namespaces;  // for those
    std::function<bool()> synced;               // the cache is whole: not before is anything decided
  };
  // Each cluster gets a pass, once the cache is whole.
  static std::shared_ptr<ReconcileThreads> Start(Options options);
  ~ReconcileThreads();

  void Add(const std::string& key) { queue_->Add(key); }
  void Stop();  // passes end before their next step; returns when they have
  size_t waiting() const { return queue_->size(); }
  absl::Duration oldest_wait() const { return queue_->oldest_wait(); }
  size_t head_streams() const { return tables_.streams(); }

 private:
  explicit ReconcileThreads(Options options);
  Reconciler::Options OptionsOfReconciler();
  void WaitForCache();
  void Work();
  void WorkOn(const std::string& key);

  const Options options_;
  const std::shared_ptr<kube::WorkQueue> queue_;  // shared with what follows heads
  TableWatcher tables_;
  const std::unique_ptr<kube::EventRecorder> events_;
  Reconciler reconciler_;
  std::unique_ptr<RayClusterAdopter> adopter_;  // null: not asked for
  std::atomic<bool> stopping_{false};
  absl::Mutex stop_mutex_;
  std::vector<std::thread> threads_ ABSL_GUARDED_BY(stop_mutex_);
};

}  // namespace slmmesh
