// The Services and PodDisruptionBudgets of a cluster as they should be, and the hash by which a change that another
// made shows. Pure.
#pragma once

#include <string>

#include "nlohmann/json.hpp"
#include "operator/observed.h"

namespace slmmesh {

// metadata of anything the operator makes: name, namespace, labels, and the cluster as its owner.
nlohmann::json ObjectMetadata(const ObservedCluster& cluster, const std::string& name);
// The labels that all pods of one role carry, by which Services and budgets select them.
nlohmann::json SelectorLabels(const ObservedCluster& cluster, PodRole role);

nlohmann::json BuildHeadService(const ObservedCluster& cluster);
nlohmann::json BuildRouterService(const ObservedCluster& cluster, const v1::InferenceClusterSpec& spec);

// One of `pods` pods may be away. Said as minAvailable: for maxUnavailable, Kubernetes would take the number of pods
// from the cluster's scale subresource, which counts groups.
nlohmann::json BuildDisruptionBudget(const ObservedCluster& cluster, const std::string& worker_group, uint32_t pods);

// Of the fields that the builders above set, in a built object or in one that the API server returned.
std::string OwnedHash(const nlohmann::json& object);

}  // namespace slmmesh
