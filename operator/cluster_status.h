// What `kubectl get` and `kubectl describe` show: the status of a cluster, from what is there and what was decided. It
// changes only when something changed, so that writing it does not cause another round. Pure.
#pragma once

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "operator/autoscale.h"
#include "operator/drain.h"
#include "operator/observed.h"
#include "operator/pod_plan.h"
#include "operator/revision.h"

namespace slmmesh {

struct ClusterKinds {
  PodKind head;
  PodKind router;
  std::vector<PodKind> workers;  // those of the spec in its order, then those that are no longer in it
  size_t groups_in_spec = 0;
  std::vector<ScaleDecision> scales;      // of those of the spec
  std::vector<std::string> scale_limits;  // by group of the spec: why it has not what was asked for; or empty
  bool is_autoscaled = false;

  std::vector<const PodKind*> All() const;
};

struct StatusInput {
  const Observed& observed;
  const OperatorSettings& settings;
  absl::Time now;
  const WantedRevision& revision;
  const v1::InferenceClusterSpec& spec;  // that is wanted
  const ClusterKinds& kinds;
  const DrainPlan& drain;
  std::string rollout_progressed_at;
  bool is_frozen = false;
  bool is_paused = false;
  std::vector<std::string> notes;  // what the user should know first
};

v1::InferenceClusterStatus BuildStatus(const StatusInput& input);

// Of a cluster whose spec cannot be served and which has nothing to go on with.
v1::InferenceClusterStatus InvalidStatus(const Observed& observed, const OperatorSettings& settings, absl::Time now);

// What is there is what is wanted, and serves.
bool IsComplete(const PodKind& kind);
uint32_t CountServing(const PodKind& kind, bool of_wanted_only);

// Troubles of pods in plain words, at most three and how many more.
std::string TroubleOf(const Observed& observed);

}  // namespace slmmesh
