#include "operator/operator_metrics.h"

namespace slmmesh {

const char* StepKindName(StepKind kind) {
  switch (kind) {
    case StepKind::kIssueCertificates:
      return "issue_certificates";
    case StepKind::kApplyService:
      return "apply_service";
    case StepKind::kApplyDisruptionBudget:
      return "apply_disruption_budget";
    case StepKind::kCreatePod:
      return "create_pod";
    case StepKind::kDeletePod:
      return "delete_pod";
    case StepKind::kDeleteDisruptionBudget:
      return "delete_disruption_budget";
    case StepKind::kSetDraining:
      return "set_draining";
    case StepKind::kRollBack:
      return "roll_back";
    case StepKind::kEvent:
      return "event";
  }
  return "";
}

OperatorMetrics::OperatorMetrics(Metrics* metrics)
    : metrics_(*metrics),
      reconcile_seconds_(
          metrics_.Histogram("slmmesh_operator_reconcile_seconds", "How long one pass over one cluster took.")),
      reconcile_failures_(metrics_.Counter("slmmesh_operator_reconcile_failures_total",
                                           "Passes that ended with an error and are tried again.")),
      status_writes_(metrics_.Counter("slmmesh_operator_status_writes_total", "Statuses written.")),
      is_leader_(metrics_.Gauge("slmmesh_operator_is_leader", "1 while this operator acts, 0 while it stands by.")),
      queue_depth_(metrics_.Gauge("slmmesh_operator_queue_depth", "Clusters that wait for a pass.")),
      queue_oldest_wait_seconds_(metrics_.Gauge("slmmesh_operator_queue_oldest_wait_seconds",
                                                "How long the cluster that waits longest has waited.")),
      clusters_(metrics_.Gauge("slmmesh_operator_clusters", "InferenceClusters in the cache.")),
      pods_(metrics_.Gauge("slmmesh_operator_pods", "Pods in the cache.")),
      head_streams_(metrics_.Gauge("slmmesh_operator_head_streams", "Heads whose table is followed.")) {}

void OperatorMetrics::Reconciled(absl::Duration took, bool succeeded) {
  reconcile_seconds_.Observe(absl::ToDoubleSeconds(took));
  if (!succeeded) reconcile_failures_.Increment();
}

void OperatorMetrics::Did(StepKind kind) {
  metrics_.Counter("slmmesh_operator_steps_total", "Steps done, by kind.", {{"kind", StepKindName(kind)}}).Increment();
}

void OperatorMetrics::Called(const std::string& verb, const std::string& resource, bool succeeded) {
  metrics_
      .Counter("slmmesh_operator_api_calls_total", "Calls to the API server.",
               {{"verb", verb}, {"resource", resource}, {"result", succeeded ? "ok" : "error"}})
      .Increment();
}

void OperatorMetrics::SetQueue(size_t depth, absl::Duration oldest_wait) {
  queue_depth_.Set(static_cast<double>(depth));
  queue_oldest_wait_seconds_.Set(absl::ToDoubleSeconds(oldest_wait));
}

void OperatorMetrics::SetCached(size_t clusters, size_t pods, size_t head_streams) {
  clusters_.Set(static_cast<double>(clusters));
  pods_.Set(static_cast<double>(pods));
  head_streams_.Set(static_cast<double>(head_streams));
}

}  // namespace slmmesh
