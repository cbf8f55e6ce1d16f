#include "operator/projection.h"

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/status.h"
#include "operator/api_json.h"
#include "operator/json_fields.h"
#include "operator/objects.h"
#include "operator/pod_trouble.h"
#include "proto/manifest.h"
#include "proto/program_knobs.h"

namespace slmmesh {
namespace {

using nlohmann::json;

constexpr char kSpecFile[] = "spec";  // stands where errors name a file; taken off again

absl::Time TimeOf(const json& object, const char* name) {
  absl::Time time = absl::UnixEpoch();
  std::string error;
  if (!absl::ParseTime(absl::RFC3339_full, TextOf(object, name), &time, &error)) return absl::UnixEpoch();
  return time;
}

uint32_t NumericLabel(const json& labels, const char* name) {
  uint32_t value = 0;
  return absl::SimpleAtoi(TextOf(labels, name), &value) ? value : 0;
}

PodPhase PhaseOf(const json& status) {
  const std::string phase = TextOf(status, "phase");
  if (phase == "Pending" || phase.empty()) return PodPhase::kPending;
  if (phase == "Running") return PodPhase::kRunning;
  if (phase == "Succeeded") return PodPhase::kSucceeded;
  if (phase == "Failed") return PodPhase::kFailed;
  return PodPhase::kUnknown;
}

std::optional<PodRole> RoleOf(const json& labels) {
  const std::string role = TextOf(labels, kRoleLabel);
  if (role == "head") return PodRole::kHead;
  if (role == "router") return PodRole::kRouter;
  if (role == "worker") return PodRole::kWorker;
  return std::nullopt;
}

bool IsReady(const json& status) {
  for (const json& condition : FieldOf(status, "conditions")) {
    if (TextOf(condition, "type") == "Ready") return TextOf(condition, "status") == "True";
  }
  return false;
}

uint32_t Restarts(const json& status) {
  int64_t restarts = 0;
  for (const json& container : FieldOf(status, "containerStatuses")) restarts += NumberOf(container, "restartCount");
  return static_cast<uint32_t>(restarts);
}

// With defaults, checked as `mesh up` checks it.
absl::Status ReadSpec(const std::string& name, const json& spec, v1::InferenceClusterSpec* result) {
  const json manifest = {{"apiVersion", "slmmesh.io/v1alpha1"},
                         {"kind", "InferenceCluster"},
                         {"metadata", {{"name", name}}},
                         {"spec", spec}};
  absl::StatusOr<v1::InferenceCluster> parsed = ParseManifest(manifest.dump(), kSpecFile);
  if (!parsed.ok()) {
    const std::string message(parsed.status().message());
    const std::string place = absl::StrCat(kSpecFile, ":1: ");
    return absl::InvalidArgumentError(absl::StartsWith(message, place) ? message.substr(place.size()) : message);
  }
  *result = std::move(*parsed->mutable_spec());
  return CheckServedByThisVersion(*result);
}

}  // namespace

std::string ClusterKey(const std::string& ns, const std::string& name) { return absl::StrCat(ns, "/", name); }

std::string NameOf(const json& object) { return TextOf(FieldOf(object, "metadata"), "name"); }

std::string OwningClusterKey(const json& object) {
  const json& metadata = FieldOf(object, "metadata");
  const json& labels = FieldOf(metadata, "labels");
  const std::string cluster = TextOf(labels, kClusterLabel);
  if (cluster.empty() || TextOf(labels, kManagedByLabel) != kManagedBy) return "";
  return ClusterKey(TextOf(metadata, "namespace"), cluster);
}

std::string ControllerUid(const json& object) {
  for (const json& owner : FieldOf(FieldOf(object, "metadata"), "ownerReferences")) {
    if (TruthOf(owner, "controller") && TextOf(owner, "kind") == "InferenceCluster") return TextOf(owner, "uid");
  }
  return "";
}

uint64_t ResourceVersion(const json& object) {
  uint64_t version = 0;
  return absl::SimpleAtoi(TextOf(FieldOf(object, "metadata"), "resourceVersion"), &version) ? version : 0;
}

std::optional<ObservedPod> ProjectPod(const json& pod) {
  const json& metadata = FieldOf(pod, "metadata");
  const json& labels = FieldOf(metadata, "labels");
  const json& status = FieldOf(pod, "status");
  const std::optional<PodRole> role = RoleOf(labels);
  if (!role.has_value()) return std::nullopt;
  ObservedPod result;
  result.name = TextOf(metadata, "name");
  result.uid = TextOf(metadata, "uid");
  result.role = *role;
  if (*role == PodRole::kWorker) result.worker_group = TextOf(labels, kWorkerGroupLabel);
  result.revision = NumericLabel(labels, kRevisionLabel);
  result.hash = TextOf(labels, kHashLabel);
  result.slot = NumericLabel(labels, kSlotLabel);
  result.phase = PhaseOf(status);
  result.ready = IsReady(status);
  result.terminating = !TextOf(metadata, "deletionTimestamp").empty();
  result.node = TextOf(FieldOf(pod, "spec"), "nodeName");
  result.scheduled = !result.node.empty();
  if (*role == PodRole::kHead) result.ip = TextOf(status, "podIP");
  result.restarts = Restarts(status);
  result.trouble = PodTrouble(pod);
  result.created = TimeOf(metadata, "creationTimestamp");
  return result;
}

ObservedObject ProjectObject(const json& object) {
  return {NameOf(object), OwnedHash(object), TextOf(FieldOf(object, "metadata"), "uid")};
}

ObservedCluster ProjectCluster(const json& cluster) {
  ObservedCluster result = ProjectClusterWithoutSpec(cluster);
  const json& spec = FieldOf(cluster, "spec");
  const json object = spec.is_object() ? spec : json::object();
  result.spec_status = ReadSpec(result.name, object, &result.spec);
  result.raw_spec = StructFromJson(object);
  return result;
}

ObservedCluster ProjectClusterWithoutSpec(const json& cluster) {
  const json& metadata = FieldOf(cluster, "metadata");
  ObservedCluster result;
  result.ns = TextOf(metadata, "namespace");
  result.name = TextOf(metadata, "name");
  result.uid = TextOf(metadata, "uid");
  result.generation = static_cast<uint32_t>(NumberOf(metadata, "generation"));
  result.deleting = !TextOf(metadata, "deletionTimestamp").empty();
  result.created = TimeOf(metadata, "creationTimestamp");
  for (const auto& [name, value] : FieldOf(metadata, "annotations").items()) {
    if (absl::StartsWith(name, "slmmesh.io/") && value.is_string()) {
      result.annotations.emplace_back(name, value.get<std::string>());
    }
  }
  const json& status = FieldOf(cluster, "status");
  // What cannot be read was not written by us: the next pass writes it anew.
  if (status.is_object() && !MessageFromJson(status, &result.status).ok()) result.status.Clear();
  return result;
}

}  // namespace slmmesh
