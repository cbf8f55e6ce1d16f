// From a rollout's decision to pods: which are made, under which names, and which are deleted. A pod that failed is
// replaced alone, at once the first time, then later each time. Pure.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "operator/names.h"
#include "operator/observed.h"
#include "operator/rollout.h"
#include "operator/unit.h"

namespace slmmesh {

// Pods of one role: the head, the routers, or a worker group.
struct PodKind {
  PodRole role = PodRole::kWorker;
  std::string worker_group;
  std::string wanted_hash;               // empty: none are wanted
  uint32_t size = 1;                     // pods of a unit of `wanted_hash`
  uint32_t proven_size = 1;              // of rules.proven_hash
  std::vector<const ObservedPod*> pods;  // all there are, in any state
  std::vector<Unit> units;
  RolloutRules rules;
  RolloutDecision decision;
};

struct NewPod {
  PodPlace place;
  std::string name;
  std::string hash;
  const ObservedPod* replaces = nullptr;  // that failed
};

struct PodChanges {
  std::vector<NewPod> created;
  std::vector<const ObservedPod*> removed;  // failed ones; those of units that leave are the caller's
  absl::Duration look_again_in = absl::InfiniteDuration();
};

// `numbers`: of revisions, by hash. `taken`: names that are in use; those of new pods are added.
PodChanges PlanPods(const ObservedCluster& cluster, const PodKind& kind, const std::map<std::string, uint32_t>& numbers,
                    absl::Time now, std::set<std::string>* taken);

// How long after the creation of the last of `failures` failed pods their place stays empty.
absl::Duration ReplacementDelay(size_t failures);
constexpr size_t kKeptFailures = 5;  // failed pods of one place that are kept, to count them

}  // namespace slmmesh
