// The pods of a cluster as they should be: our container, certificates, probes and security settings, merged with the
// pod template that the user wrote. Pure.
#pragma once

#include <string>

#include "nlohmann/json.hpp"
#include "operator/names.h"
#include "operator/observed.h"

namespace slmmesh {

struct PodRequest {
  PodPlace place;
  std::string name;
  std::string hash;  // of what it is made from: its label, and what its group's members have in common
  v1::InferenceClusterSpec spec;
  std::string default_image;  // where the template names none
  std::string image_pull_policy;
};

// The user's template wins over our defaults; the program, its arguments' beginning, the certificates and the labels by
// which we find our pods again are ours.
nlohmann::json BuildPod(const ObservedCluster& cluster, const PodRequest& request);

// The template of the role's pods; a null value where the spec has none.
nlohmann::json TemplateOf(const v1::InferenceClusterSpec& spec, PodRole role, const std::string& worker_group);
// Our container in it: the one that is called as the role, or the first one. An empty object where there is none.
nlohmann::json ContainerOf(const nlohmann::json& pod_template, PodRole role);

// The worker group of that name; null where the spec has none.
const v1::WorkerGroupSpec* FindWorkerGroup(const v1::InferenceClusterSpec& spec, const std::string& group_name);
// True where every worker group may go down to no pods: then routers take requests without any group.
bool MayScaleToZero(const v1::InferenceClusterSpec& spec);

}  // namespace slmmesh
