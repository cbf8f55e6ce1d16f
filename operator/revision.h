// Revisions: what the cluster's pods are made from, over time. status.history keeps them, oldest first; the newest is
// what is wanted. Each role's pods have a hash of their own, so that a change rolls out to those alone whom it
// concerns. Replicas, groups, autoscaling, rollout and service settings make no revision. Pure.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "nlohmann/json.hpp"
#include "operator/observed.h"

namespace slmmesh {

// By "head", "router" and "worker/<group>". In Revision.hash: "head=… router=… worker/cpu=…".
using RoleHashes = std::map<std::string, std::string>;
std::string RoleKey(PodRole role, const std::string& worker_group);
RoleHashes ParseRoleHashes(const std::string& text);
std::string FormatRoleHashes(const RoleHashes& hashes);

struct DefaultImages {
  std::string head, router, worker;
  const std::string& Of(PodRole role) const;
};
DefaultImages ImagesOf(const v1::Revision& revision);

// With defaults filled in, as of a manifest.
absl::StatusOr<v1::InferenceClusterSpec> SpecOf(const v1::Revision& revision, const ObservedCluster& cluster);

// Pods of one serving group in that revision.
uint32_t GroupSizeOf(const v1::Revision& revision);

RoleHashes HashRoles(const v1::InferenceClusterSpec& spec, const DefaultImages& images);

struct WantedRevision {
  std::vector<v1::Revision> history;  // the newest is wanted
  // What the newest is made from, or why there is nothing to make.
  absl::StatusOr<v1::InferenceClusterSpec> spec = absl::UnknownError("");
  bool is_new = false;  // not yet in the observed history
};
// A spec that cannot be served makes no revision: the newest one of the history goes on.
WantedRevision PlanRevision(const Observed& observed, const OperatorSettings& settings, absl::Time now);

// The spec to write for an undo to `revision`: its pods, with the present numbers of them and the present settings.
nlohmann::json RolledBackSpec(const v1::Revision& revision, const google::protobuf::Struct& present);

// The number that names pods of `hash`: that of the pods there are, else of the first revision that has it.
uint32_t RevisionNumberOf(const std::string& hash, const std::vector<v1::Revision>& history,
                          const std::vector<ObservedPod>& pods);
// The newest revision whose pods of this role have `hash`; null: none is known.
const v1::Revision* FindRevision(const std::string& role_key, const std::string& hash,
                                 const std::vector<v1::Revision>& history);

}  // namespace slmmesh
