// The cluster sorted by kind of pod (the head, the routers, each worker group): what is there, how many are wanted, and
// the rollout's decision for each. Pure.
#pragma once

#include <map>
#include <string>

#include "absl/time/time.h"
#include "operator/cluster_status.h"
#include "operator/observed.h"
#include "operator/revision.h"

namespace slmmesh {

struct KindsInput {
  const Observed& observed;
  const WantedRevision& revision;
  const v1::InferenceClusterSpec& spec;  // that is wanted
  absl::Time now;
  // Numbers of groups stay as the status has them: paused, or the present spec cannot be served.
  bool is_held = false;
};

// Without decisions: units and rules. Rules of worker groups that are no longer in the spec hold them until the others
// serve.
ClusterKinds SortIntoKinds(const KindsInput& input);

// Fills in the decisions.
void DecideKinds(bool is_frozen, ClusterKinds* kinds);

}  // namespace slmmesh
