#include "operator/objects.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "operator/names.h"

namespace slmmesh {
namespace {

using nlohmann::json;

json Port(const char* name, int port, int target) {
  return {{"name", name}, {"port", port}, {"targetPort", target}, {"protocol", "TCP"}};
}

json BuildService(const ObservedCluster& cluster, const std::string& name, PodRole role, json spec) {
  spec["selector"] = SelectorLabels(cluster, role);
  json metadata = ObjectMetadata(cluster, name);
  metadata["labels"][kRoleLabel] = PodRoleName(role);
  return {{"apiVersion", "v1"}, {"kind", "Service"}, {"metadata", metadata}, {"spec", spec}};
}

// Null where absent, so that an object without a field differs from one with it.
json Member(const json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() ? json() : *found;
}

json OwnLabels(const json& object) {
  json own = json::object();
  const json labels = object.value("/metadata/labels"_json_pointer, json::object());
  for (const auto& [key, value] : labels.items()) {
    if (key == kManagedByLabel || absl::StartsWith(key, "slmmesh.io/")) own[key] = value;
  }
  return own;
}

json OwnedPorts(const json& ports) {
  json owned = json::array();
  for (const json& port : ports) {
    owned.push_back({Member(port, "name"), Member(port, "port"), Member(port, "targetPort"), Member(port, "protocol")});
  }
  return owned;
}

// The API server fills a cluster address in where we ask for none in particular: only "None" is ours.
bool IsHeadless(const json& spec) { return spec.value("clusterIP", "") == "None"; }

}  // namespace

json ObjectMetadata(const ObservedCluster& cluster, const std::string& name) {
  return {{"name", name},
          {"namespace", cluster.ns},
          {"labels", {{kManagedByLabel, kManagedBy}, {kClusterLabel, cluster.name}}},
          {"ownerReferences", json::array({{{"apiVersion", "slmmesh.io/v1alpha1"},
                                            {"kind", "InferenceCluster"},
                                            {"name", cluster.name},
                                            {"uid", cluster.uid},
                                            {"controller", true},
                                            {"blockOwnerDeletion", true}}})}};
}

json SelectorLabels(const ObservedCluster& cluster, PodRole role) {
  return {{kClusterLabel, cluster.name}, {kRoleLabel, PodRoleName(role)}};
}

json BuildHeadService(const ObservedCluster& cluster) {
  // Workers dial a head that only becomes ready by their dialling in.
  return BuildService(cluster, HeadServiceName(cluster), PodRole::kHead,
                      {{"type", "ClusterIP"},
                       {"clusterIP", "None"},
                       {"publishNotReadyAddresses", true},
                       {"ports", json::array({Port("grpc", kHeadPort, kHeadPort)})}});
}

json BuildRouterService(const ObservedCluster& cluster, const v1::InferenceClusterSpec& spec) {
  const v1::ServiceSpec& service = spec.router_spec().service();
  const int port = service.port() == 0 ? kRouterHttpPort : static_cast<int>(service.port());
  const int grpc_port = port == kRouterGrpcPort ? kRouterHttpPort : kRouterGrpcPort;
  return BuildService(
      cluster, RouterServiceName(cluster), PodRole::kRouter,
      {{"type", service.type().empty() ? "ClusterIP" : service.type()},
       {"ports", json::array({Port("http", port, kRouterHttpPort), Port("grpc", grpc_port, kRouterGrpcPort)})}});
}

json BuildDisruptionBudget(const ObservedCluster& cluster, const std::string& worker_group, uint32_t pods) {
  json selector = SelectorLabels(cluster, PodRole::kWorker);
  selector[kWorkerGroupLabel] = worker_group;
  json metadata = ObjectMetadata(cluster, DisruptionBudgetName(cluster, worker_group));
  metadata["labels"][kWorkerGroupLabel] = worker_group;
  return {{"apiVersion", "policy/v1"},
          {"kind", "PodDisruptionBudget"},
          {"metadata", metadata},
          {"spec", {{"minAvailable", pods - 1}, {"selector", {{"matchLabels", selector}}}}}};
}

std::string OwnedHash(const json& object) {
  const json spec = object.value("spec", json::object());
  json owned = json::array({OwnLabels(object)});
  if (spec.contains("minAvailable") || spec.contains("maxUnavailable")) {  // items of a list have no kind
    owned.push_back({Member(spec, "minAvailable"), Member(spec, "maxUnavailable"),
                     spec.value("/selector/matchLabels"_json_pointer, json::object())});
  } else {
    owned.push_back({spec.value("type", "ClusterIP"), IsHeadless(spec), Member(spec, "selector"),
                     spec.value("publishNotReadyAddresses", false), OwnedPorts(Member(spec, "ports"))});
  }
  return HashText(owned.dump());
}

}  // namespace slmmesh
