// From the API server's objects to what planning reads. Pure. An object that lacks fields, or has them of the wrong
// type, gives what can be read of it: nothing here throws.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "nlohmann/json_fwd.hpp"
#include "operator/observed.h"

namespace slmmesh {

// A cluster's key: <namespace>/<name>.
std::string ClusterKey(const std::string& ns, const std::string& name);

// The key of the cluster that an object of ours belongs to, by its label; empty: not ours.
std::string OwningClusterKey(const nlohmann::json& object);
// The uid of the InferenceCluster that controls the object; empty: none.
std::string ControllerUid(const nlohmann::json& object);
uint64_t ResourceVersion(const nlohmann::json& object);  // 0: none
std::string NameOf(const nlohmann::json& object);

// nullopt: not a pod of a cluster's.
std::optional<ObservedPod> ProjectPod(const nlohmann::json& pod);
ObservedObject ProjectObject(const nlohmann::json& object);
ObservedCluster ProjectCluster(const nlohmann::json& cluster);
// Without the spec (spec, raw_spec, spec_status), which costs most and changes with the generation alone.
ObservedCluster ProjectClusterWithoutSpec(const nlohmann::json& cluster);

}  // namespace slmmesh
