// The operator's own metrics: slmmesh_operator_*.
#pragma once

#include <string>

#include "absl/time/time.h"
#include "common/metrics.h"
#include "operator/plan.h"

namespace slmmesh {

// Thread-safe.
class OperatorMetrics {
 public:
  explicit OperatorMetrics(Metrics* metrics);

  void Reconciled(absl::Duration took, bool succeeded);
  void Did(StepKind kind);
  void WroteStatus() { status_writes_.Increment(); }
  void Called(const std::string& verb, const std::string& resource, bool succeeded);
  void SetLeader(bool leads) { is_leader_.Set(leads ? 1 : 0); }
  // What is looked at when somebody scrapes.
  void SetQueue(size_t depth, absl::Duration oldest_wait);
  void SetCached(size_t clusters, size_t pods, size_t head_streams);

 private:
  Metrics& metrics_;
  prometheus::Histogram& reconcile_seconds_;
  prometheus::Counter& reconcile_failures_;
  prometheus::Counter& status_writes_;
  prometheus::Gauge& is_leader_;
  prometheus::Gauge& queue_depth_;
  prometheus::Gauge& queue_oldest_wait_seconds_;
  prometheus::Gauge& clusters_;
  prometheus::Gauge& pods_;
  prometheus::Gauge& head_streams_;
};

const char* StepKindName(StepKind kind);  // "create_pod"

}  // namespace slmmesh
