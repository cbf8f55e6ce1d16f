#include "operator/reconciler.h"

#include <algorithm>
#include <memory>
#include <optional>

#include "absl/strings/str_cat.h"
#include "common/log.h"
#include "common/net.h"
#include "common/status.h"
#include "operator/names.h"
#include "operator/status_difference.h"

namespace slmmesh {
namespace {

using nlohmann::json;

// What the user can mend, unlike a conflict or an API server that is away.
bool IsTheUsersConcern(const absl::Status& status) {
  return absl::IsPermissionDenied(status) || absl::IsInvalidArgument(status) || absl::IsFailedPrecondition(status);
}

bool ChangesSomething(const std::vector<Step>& steps) {
  return std::any_of(steps.begin(), steps.end(), [](const Step& step) {
    return step.kind != StepKind::kEvent && step.kind != StepKind::kSetDraining;
  });
}

// Present before terminating, ready before not, young before old.
bool IsBetterHead(const ObservedPod& a, const ObservedPod& b) {
  if (a.terminating != b.terminating) return b.terminating;
  if (a.ready != b.ready) return a.ready;
  return a.created > b.created;
}

// Cuts off what nobody waits for as for pods: budgets and the status, which the next pass plans again. Not so events,
// which are told once. Whether something was cut.
bool CutAfterPods(std::vector<Step>* steps) {
  const auto is = [](StepKind kind) { return [kind](const Step& step) { return step.kind == kind; }; };
  if (std::any_of(steps->begin(), steps->end(), is(StepKind::kEvent))) return false;
  const auto last_pod = std::find_if(steps->rbegin(), steps->rend(), is(StepKind::kCreatePod));
  if (last_pod == steps->rend()) return false;
  steps->erase(last_pod.base(), steps->end());
  return true;
}

const ObservedPod* HeadToFollow(const std::vector<ObservedPod>& pods) {
  const ObservedPod* best = nullptr;
  for (const ObservedPod& pod : pods) {
    if (pod.role != PodRole::kHead || pod.ip.empty() || pod.phase != PodPhase::kRunning) continue;
    if (best == nullptr || IsBetterHead(pod, *best)) best = &pod;
  }
  return best;
}

}  // namespace

absl::StatusOr<absl::Duration> Reconciler::Reconcile(const std::string& key) {
  const std::optional<Observed> observed = Observe(key);
  if (!observed.has_value()) {
    Forget(key);
    return absl::InfiniteDuration();
  }
  const ObservedCluster& cluster = observed->cluster;
  ClusterPlan plan = options_.planner(*observed, options_.settings, options_.clock->Now());
  const bool is_cut = options_.is_burst() && CutAfterPods(&plan.steps);
  const absl::Status acted = actor_.Act(cluster, plan.steps, stopping_);
  if (is_cut && acted.ok()) return absl::ZeroDuration();
  bool more = false;
  if (acted.ok() && ChangesSomething(plan.steps)) {
    more = PlanAfterwards(key, &plan);
  } else if (IsTheUsersConcern(acted)) {
    plan.status.set_message(std::string(acted.message()));
    actor_.RecordEvent(cluster, /*warning=*/true, "StepFailed", std::string(acted.message()));
  }
  // What passes is tried again soon, and the status with it: it may say of a step that it is done.
  if (!acted.ok() && !IsTheUsersConcern(acted)) return acted;
  ASSIGN_OR_RETURN(const absl::Duration status_wait, WriteStatus(key, cluster, plan.status));
  RETURN_IF_ERROR(acted);
  return more ? absl::ZeroDuration() : std::min(plan.look_again_in, status_wait);
}

std::optional<Observed> Reconciler::Observe(const std::string& key) {
  std::optional<Observed> observed = options_.parts.cache->Observe(key);
  if (!observed.has_value()) return std::nullopt;
  FollowHead(key, *observed);
  observed->certificates = options_.parts.certificates->Observe(*observed);
  observed->table = options_.parts.tables->Table(key);
  return observed;
}

void Reconciler::FollowHead(const std::string& key, const Observed& observed) {
  const ObservedPod* head = HeadToFollow(observed.pods);
  if (head == nullptr) return options_.parts.tables->Forget(key);
  const HeadTarget target{JoinHostPort(head->ip, kHeadPort), ClusterIdentity(observed.cluster), head->uid};
  // Little is kept for as long as the head is followed: what names the cluster's CA.
  auto cluster = std::make_shared<ObservedCluster>();
  cluster->ns = observed.cluster.ns;
  cluster->name = observed.cluster.name;
  cluster->uid = observed.cluster.uid;
  options_.parts.tables->Follow(key, target, [certificates = options_.parts.certificates, cluster] {
    return certificates->IssueForOperator(*cluster);
  });
}

bool Reconciler::PlanAfterwards(const std::string& key, ClusterPlan* plan) {
  std::optional<Observed> observed = Observe(key);
  if (!observed.has_value()) return true;
  observed->cluster.status = plan->status;
  ClusterPlan next = options_.planner(*observed, options_.settings, options_.clock->Now());
  for (const Step& step : next.steps) {
    if (step.kind == StepKind::kEvent) actor_.RecordEvent(observed->cluster, step.warning, step.reason, step.message);
  }
  plan->status = std::move(next.status);
  plan->look_again_in = next.look_again_in;
  return ChangesSomething(next.steps);
}

absl::StatusOr<absl::Duration> Reconciler::WriteStatus(const std::string& key, const ObservedCluster& cluster,
                                                       const v1::InferenceClusterStatus& status) {
  const StatusDifference difference = CompareStatus(cluster.status, status);
  if (difference == StatusDifference::kNone) return absl::InfiniteDuration();
  if (difference == StatusDifference::kLoadsOnly) {
    if (const absl::Duration wait = LoadStatusWait(key); wait > absl::ZeroDuration()) return wait;
  }
  const json patch = StatusPatch(cluster.status, status);
  const absl::StatusOr<json> written = options_.parts.client->MergePatch(
      {kube::resources::kInferenceClusters, cluster.ns, cluster.name, "status"}, patch);
  if (absl::IsNotFound(written.status())) return absl::InfiniteDuration();  // deleted meanwhile
  if (!written.ok()) return written.status();
  options_.parts.cache->Wrote(CachedKind::kCluster, *written);
  options_.parts.metrics->WroteStatus();
  const absl::MutexLock lock(&mutex_);
  status_written_[key] = options_.clock->Now();
  return absl::InfiniteDuration();
}

absl::Duration Reconciler::LoadStatusWait(const std::string& key) {
  const absl::MutexLock lock(&mutex_);
  const auto found = status_written_.find(key);
  if (found == status_written_.end()) return absl::ZeroDuration();
  return found->second + options_.load_status_interval - options_.clock->Now();
}

void Reconciler::Forget(const std::string& key) {
  options_.parts.tables->Forget(key);
  options_.parts.certificates->Forget(key);
  const absl::MutexLock lock(&mutex_);
  status_written_.erase(key);
}

}  // namespace slmmesh
