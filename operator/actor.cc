#include "operator/actor.h"

#include <algorithm>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "common/status.h"
#include "operator/api_json.h"
#include "operator/projection.h"

namespace slmmesh {
namespace {

using nlohmann::json;

// Fewer pods are made one after the other: with many clusters the API server is busy anyhow.
constexpr size_t kParallelFrom = 5;
constexpr size_t kMaxParallel = 8;

std::string KeyOf(const ObservedCluster& cluster) { return ClusterKey(cluster.ns, cluster.name); }

absl::Status TakenByAnother(const std::string& kind, const std::string& name) {
  return absl::FailedPreconditionError(
      absl::StrCat(kind, " ", name, " belongs to something else; delete or rename that"));
}

}  // namespace

absl::Status Actor::Act(const ObservedCluster& cluster, const std::vector<Step>& steps,
                        const std::atomic<bool>& stopping) {
  for (size_t i = 0; i < steps.size();) {
    if (stopping.load()) return absl::CancelledError("the operator stops");
    size_t end = i + 1;
    if (steps[i].kind == StepKind::kCreatePod) {
      while (end < steps.size() && steps[end].kind == StepKind::kCreatePod) ++end;
      RETURN_IF_ERROR(CreatePods(cluster, absl::MakeConstSpan(steps).subspan(i, end - i)));
    } else {
      RETURN_IF_ERROR(ActOnce(cluster, steps[i]));
    }
    i = end;
  }
  return absl::OkStatus();
}

absl::Status Actor::ActOnce(const ObservedCluster& cluster, const Step& step) {
  absl::Status status;
  switch (step.kind) {
    case StepKind::kIssueCertificates:
      status = parts_.certificates->Issue(cluster, step.names);
      break;
    case StepKind::kApplyService:
      status = Apply(kube::resources::kServices, CachedKind::kService, cluster, step);
      break;
    case StepKind::kApplyDisruptionBudget:
      status = Apply(kube::resources::kPodDisruptionBudgets, CachedKind::kDisruptionBudget, cluster, step);
      break;
    case StepKind::kCreatePod:
      status = CreatePod(cluster, step);
      break;
    case StepKind::kDeletePod:
      status = DeletePod(cluster, step);
      break;
    case StepKind::kDeleteDisruptionBudget:
      status = DeleteDisruptionBudget(cluster, step);
      break;
    case StepKind::kSetDraining:
      status = parts_.tables->SetDraining(KeyOf(cluster), step.names);
      break;
    case StepKind::kRollBack:
      status = RollBack(cluster, step);
      break;
    case StepKind::kEvent:
      RecordEvent(cluster, step.warning, step.reason, step.message);
      break;
  }
  if (status.ok()) parts_.metrics->Did(step.kind);
  return status;
}

absl::Status Actor::Apply(const kube::Resource& resource, CachedKind kind, const ObservedCluster& cluster,
                          const Step& step) {
  const std::string name = NameOf(step.object);
  const kube::ObjectRef ref{resource, cluster.ns, name, ""};
  const bool is_ours = !step.uid.empty();
  absl::StatusOr<json> applied = parts_.client->Apply(ref, step.object, kFieldManager, /*force=*/is_ours);
  if (absl::IsAborted(applied.status()) &&
      !is_ours) {  // something is there: ours, where the cache is behind, or another's
    ASSIGN_OR_RETURN(const json present, parts_.client->Get(ref));
    if (ControllerUid(present) != cluster.uid) return TakenByAnother(resource.kind, name);
    applied = parts_.client->Apply(ref, step.object, kFieldManager, /*force=*/true);
  }
  if (!applied.ok()) return applied.status();
  parts_.cache->Wrote(kind, *applied);
  return absl::OkStatus();
}

absl::Status Actor::CreatePod(const ObservedCluster& cluster, const Step& step) {
  const std::string name = NameOf(step.object);
  const kube::ObjectRef ref{kube::resources::kPods, cluster.ns, name, ""};
  absl::StatusOr<json> pod = parts_.client->Create(ref, step.object);
  if (absl::IsAlreadyExists(pod.status())) {  // ours, where the cache is behind; or another's
    pod = parts_.client->Get(ref);
    if (absl::IsNotFound(pod.status())) return absl::AbortedError(absl::StrCat("pod ", name, " went away just now"));
    if (pod.ok() && ControllerUid(*pod) != cluster.uid) return TakenByAnother("Pod", name);
  }
  if (!pod.ok()) return pod.status();
  parts_.cache->Wrote(CachedKind::kPod, *pod);
  return absl::OkStatus();
}

absl::Status Actor::CreatePods(const ObservedCluster& cluster, absl::Span<const Step> steps) {
  if (steps.size() < kParallelFrom) {
    for (const Step& step : steps) RETURN_IF_ERROR(ActOnce(cluster, step));
    return absl::OkStatus();
  }
  std::atomic<size_t> next{0};
  absl::Mutex mutex;
  absl::Status first_error;
  const auto work = [&] {
    for (size_t i = next++; i < steps.size(); i = next++) {
      const absl::Status status = ActOnce(cluster, steps[i]);
      if (status.ok()) continue;
      next = steps.size();
      const absl::MutexLock lock(&mutex);
      first_error.Update(status);
    }
  };
  std::vector<std::thread> threads;
  for (size_t i = 0; i < std::min(kMaxParallel, steps.size()); ++i) threads.emplace_back(work);
  for (std::thread& thread : threads) thread.join();
  return first_error;
}

absl::Status Actor::DeletePod(const ObservedCluster& cluster, const Step& step) {
  kube::DeleteOptions options;
  options.grace_seconds = step.grace_seconds;
  options.uid = step.uid;
  const absl::Status status = parts_.client->Delete({kube::resources::kPods, cluster.ns, step.name, ""}, options);
  // Gone, or another pod by now: what was to be deleted is.
  if (!status.ok() && !absl::IsNotFound(status) && !absl::IsAborted(status)) return status;
  parts_.cache->DeletedPod(KeyOf(cluster), step.name, step.uid);
  return absl::OkStatus();
}

absl::Status Actor::DeleteDisruptionBudget(const ObservedCluster& cluster, const Step& step) {
  kube::DeleteOptions options;
  options.uid = step.uid;
  const absl::Status status =
      parts_.client->Delete({kube::resources::kPodDisruptionBudgets, cluster.ns, step.name, ""}, options);
  if (!status.ok() && !absl::IsNotFound(status) && !absl::IsAborted(status)) return status;
  parts_.cache->DeletedDisruptionBudget(KeyOf(cluster), step.name);
  return absl::OkStatus();
}

// One call: the old spec in, the annotation out, unless somebody changed the cluster meanwhile.
absl::Status Actor::RollBack(const ObservedCluster& cluster, const Step& step) {
  const json patch = {{"metadata",
                       {{"resourceVersion", parts_.cache->ClusterVersion(KeyOf(cluster))},
                        {"annotations", {{kRollbackAnnotation, nullptr}}}}},
                      {"spec", MergePatchBetween(JsonFromStruct(cluster.raw_spec), step.object)}};
  ASSIGN_OR_RETURN(const json written, parts_.client->MergePatch(
                                           {kube::resources::kInferenceClusters, cluster.ns, cluster.name, ""}, patch));
  parts_.cache->Wrote(CachedKind::kCluster, written);
  return absl::OkStatus();
}

void Actor::RecordEvent(const ObservedCluster& cluster, bool warning, const std::string& reason,
                        const std::string& message) {
  parts_.events->Record({kube::resources::kInferenceClusters, cluster.ns, cluster.name, cluster.uid},
                        warning ? kube::EventType::kWarning : kube::EventType::kNormal, reason, message);
}

}  // namespace slmmesh
