// From a manifest to the knobs of the three programs, as far as they follow from it alone. What depends on the place
// (addresses, certificates, names, the revision) is added by `mesh up` and by the operator. Pure.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "slmmesh/v1/cluster.pb.h"

namespace slmmesh {

// INVALID_ARGUMENT, with field and fix, for what the schema has and this version of the programs lacks.
absl::Status CheckServedByThisVersion(const v1::InferenceClusterSpec& spec);

// "--knob=value" strings for mesh-head, mesh-worker and mesh-router. Of a manifest with defaults filled in
// (proto/manifest.h) and the name that the certificates give the cluster. The path of the model, --memory-utilization
// (of a worker's own limit) and --threads are the spec's as they stand: who places several workers on one machine
// divides them in the spec first.
std::vector<std::string> HeadKnobs(const v1::InferenceCluster& cluster);
std::vector<std::string> WorkerKnobs(const v1::InferenceCluster& cluster, const v1::WorkerGroupSpec& group);
std::vector<std::string> RouterKnobs(const v1::InferenceCluster& cluster);

// How long running answers may take once a worker or a router is told to stop: rollout.drainSeconds or its default.
// The pod's terminationGracePeriodSeconds must be longer.
uint32_t DrainSeconds(const v1::InferenceClusterSpec& spec);

}  // namespace slmmesh
