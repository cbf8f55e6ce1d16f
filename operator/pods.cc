#include "operator/pods.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "operator/json_message.h"
#include "operator/objects.h"
#include "proto/program_knobs.h"

namespace slmmesh {
namespace {

using nlohmann::json;

constexpr int kUser = 65532;
constexpr char kTlsVolume[] = "slm-mesh-tls";
constexpr char kScratchVolume[] = "slm-mesh-tmp";
constexpr int kHeadGraceSeconds = 10;
constexpr int kGraceBeyondDrainSeconds = 10;

std::string Knob(const char* name, const std::string& value) { return absl::StrCat("--", name, "=", value); }
std::string Everywhere(const char* name, int port) { return absl::StrCat("--", name, "=0.0.0.0:", port); }

int AdminPort(PodRole role) {
  switch (role) {
    case PodRole::kHead:
      return kHeadAdminPort;
    case PodRole::kRouter:
      return kRouterAdminPort;
    case PodRole::kWorker:
      return kWorkerAdminPort;
  }
  return 0;
}

json ContainerPorts(PodRole role) {
  const auto port = [](const char* name, int number) {
    return json{{"name", name}, {"containerPort", number}, {"protocol", "TCP"}};
  };
  const json admin = port("admin", AdminPort(role));
  switch (role) {
    case PodRole::kHead:
      return json::array({port("grpc", kHeadPort), admin});
    case PodRole::kRouter:
      return json::array({port("http", kRouterHttpPort), port("grpc", kRouterGrpcPort), admin});
    case PodRole::kWorker:
      return json::array({port("grpc", kWorkerPort), port("exchange", kWorkerExchangePort), admin});
  }
  return json::array();
}

void Append(std::vector<std::string> more, std::vector<std::string>* to) {
  for (std::string& one : more) to->push_back(std::move(one));
}

std::vector<std::string> Arguments(const ObservedCluster& cluster, const PodRequest& request) {
  v1::InferenceCluster manifest;
  manifest.mutable_metadata()->set_name(ClusterIdentity(cluster));
  manifest.mutable_metadata()->set_namespace_(cluster.ns);
  *manifest.mutable_spec() = request.spec;
  std::vector<std::string> args = {Knob("tls-dir", kTlsFolderInPod), Knob("log-format", "json"),
                                   Everywhere("admin-listen", AdminPort(request.place.role))};
  switch (request.place.role) {
    case PodRole::kHead:
      Append(HeadKnobs(manifest), &args);
      Append({Everywhere("listen", kHeadPort)}, &args);
      break;
    case PodRole::kRouter:
      Append(RouterKnobs(manifest), &args);
      Append({Knob("head", HeadAddress(cluster)), Everywhere("listen", kRouterHttpPort),
              Everywhere("grpc-listen", kRouterGrpcPort), Knob("router-id", request.name)},
             &args);
      // The client's side: TLS is the user's to configure (tlsCertFile), or an ingress's.
      if (!request.spec.router_spec().has_tls_cert_file()) args.push_back("--allow-plaintext=true");
      break;
    case PodRole::kWorker:
      Append(WorkerKnobs(manifest, *FindWorkerGroup(request.spec, request.place.worker_group)), &args);
      Append({Knob("head", HeadAddress(cluster)), Everywhere("listen", kWorkerPort),
              Everywhere("exchange-listen", kWorkerExchangePort), Knob("advertise-host", "$(POD_IP)"),
              Knob("worker-id", request.name), Knob("revision", request.hash)},
             &args);
      break;
  }
  return args;
}

json Probe(const char* path, int port, int period_seconds, int failures) {
  return {{"httpGet", {{"path", path}, {"port", port}, {"scheme", "HTTPS"}}},
          {"periodSeconds", period_seconds},
          {"timeoutSeconds", 5},
          {"failureThreshold", failures}};
}

// /healthz answers from the start, also while weights are read; the thresholds allow for a machine whose cores are all
// taken by that. A router that may be asked to wake a cluster without groups is ready without any.
void AddProbes(const PodRequest& request, json* container) {
  const PodRole role = request.place.role;
  const int port = AdminPort(role);
  const bool is_worker = role == PodRole::kWorker;
  const bool ready_without_groups = role == PodRole::kRouter && MayScaleToZero(request.spec);
  const json defaults = {
      {"startupProbe", Probe("/healthz", port, 1, is_worker ? 3600 : 300)},
      {"readinessProbe", Probe(ready_without_groups ? "/healthz" : "/readyz", port, is_worker ? 5 : 2, 2)},
      {"livenessProbe", Probe("/healthz", port, 10, is_worker ? 30 : 6)}};
  for (const auto& [name, probe] : defaults.items()) {
    if (!container->contains(name)) (*container)[name] = probe;
  }
}

// `defaults` with the user's members over them.
json Merged(json defaults, const json& users) {
  if (users.is_object()) defaults.update(users);
  return defaults;
}

// Ours first; of the user's those that do not take the place of one of ours.
json MergedList(json ours, const json& users, const char* key) {
  const size_t own = ours.size();
  for (const json& one : users) {
    const auto is_same = [&one, key](const json& other) { return other.value(key, json()) == one.value(key, json()); };
    if (std::none_of(ours.begin(), ours.begin() + static_cast<ptrdiff_t>(own), is_same)) ours.push_back(one);
  }
  return ours;
}

json Members(const json& object, const char* key, const json& otherwise) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? otherwise : *found;
}

json BuildContainer(const ObservedCluster& cluster, const PodRequest& request, json container) {
  const PodRole role = request.place.role;
  container["name"] = PodRoleName(role);
  if (container.value("image", "").empty()) container["image"] = request.default_image;
  if (!container.contains("imagePullPolicy")) container["imagePullPolicy"] = request.image_pull_policy;
  container["command"] = json::array({absl::StrCat("/bin/mesh-", PodRoleName(role))});
  json args = Arguments(cluster, request);
  for (const json& arg : Members(container, "args", json::array())) args.push_back(arg);  // a later knob wins
  container["args"] = args;
  const json pod_ip = {{"name", "POD_IP"}, {"valueFrom", {{"fieldRef", {{"fieldPath", "status.podIP"}}}}}};
  // A program's last line says why it ended: the status tells of it.
  if (!container.contains("terminationMessagePolicy")) container["terminationMessagePolicy"] = "FallbackToLogsOnError";
  container["env"] = MergedList(json::array({pod_ip}), Members(container, "env", json::array()), "name");
  container["ports"] = MergedList(ContainerPorts(role), Members(container, "ports", json::array()), "containerPort");
  json mounts = json::array({{{"name", kTlsVolume}, {"mountPath", kTlsFolderInPod}, {"readOnly", true}}});
  if (role == PodRole::kWorker) mounts.push_back({{"name", kScratchVolume}, {"mountPath", "/tmp"}});
  // A volume that the user mounts at /tmp is meant.
  json users_mounts = Members(container, "volumeMounts", json::array());
  for (const json& mount : users_mounts) {
    mounts.erase(std::remove_if(mounts.begin(), mounts.end(),
                                [&mount](const json& own) {
                                  return own["name"] == kScratchVolume && mount.value("mountPath", "") == "/tmp";
                                }),
                 mounts.end());
  }
  container["volumeMounts"] = MergedList(mounts, users_mounts, "mountPath");
  container["securityContext"] = Merged({{"allowPrivilegeEscalation", false},
                                         {"readOnlyRootFilesystem", true},
                                         {"capabilities", {{"drop", json::array({"ALL"})}}}},
                                        Members(container, "securityContext", json::object()));
  AddProbes(request, &container);
  return container;
}

// Only this pod's certificate: the Secret holds those of all of the cluster's pods.
json BuildVolumes(const ObservedCluster& cluster, const PodRequest& request) {
  const json items = json::array({{{"key", absl::StrCat(request.name, ".crt")}, {"path", "tls.crt"}},
                                  {{"key", absl::StrCat(request.name, ".key")}, {"path", "tls.key"}},
                                  {{"key", "ca.crt"}, {"path", "ca.crt"}}});
  json volumes =
      json::array({{{"name", kTlsVolume},
                    {"secret", {{"secretName", TlsSecretName(cluster)}, {"items", items}, {"defaultMode", 0440}}}}});
  if (request.place.role == PodRole::kWorker) {
    volumes.push_back({{"name", kScratchVolume}, {"emptyDir", {{"sizeLimit", "256Mi"}}}});
  }
  return volumes;
}

json BuildLabels(const ObservedCluster& cluster, const PodRequest& request) {
  json labels = SelectorLabels(cluster, request.place.role);
  labels["app.kubernetes.io/name"] = "slm-mesh";
  labels["app.kubernetes.io/component"] = PodRoleName(request.place.role);
  labels[kManagedByLabel] = kManagedBy;
  labels[kRevisionLabel] = absl::StrCat(request.place.revision);
  labels[kHashLabel] = request.hash;
  labels[kSlotLabel] = absl::StrCat(request.place.slot);
  if (request.place.role == PodRole::kWorker) labels[kWorkerGroupLabel] = request.place.worker_group;
  return labels;
}

// Ranks of one group near each other: shared memory on one host, short ways between hosts.
json NearTheirLike(const json& labels) {
  const json selector = {{"matchLabels", {{kClusterLabel, labels[kClusterLabel]}, {kHashLabel, labels[kHashLabel]}}}};
  json terms = json::array();
  const auto prefer = [&](int weight, const char* topology) {
    terms.push_back(
        {{"weight", weight}, {"podAffinityTerm", {{"labelSelector", selector}, {"topologyKey", topology}}}});
  };
  prefer(100, "kubernetes.io/hostname");
  prefer(60, "topology.kubernetes.io/rack");
  prefer(30, "topology.kubernetes.io/zone");
  return {{"podAffinity", {{"preferredDuringSchedulingIgnoredDuringExecution", terms}}}};
}

json SpreadOverHosts(const json& labels) {
  const json selector = {{"matchLabels", {{kClusterLabel, labels[kClusterLabel]}, {kHashLabel, labels[kHashLabel]}}}};
  return json::array({{{"maxSkew", 1},
                       {"topologyKey", "kubernetes.io/hostname"},
                       {"whenUnsatisfiable", "ScheduleAnyway"},
                       {"labelSelector", selector}}});
}

void AddTopology(const PodRequest& request, const json& labels, json* pod_spec) {
  if (pod_spec->contains("affinity") || pod_spec->contains("topologySpreadConstraints")) return;
  if (request.place.role == PodRole::kWorker && request.spec.tensor_parallel_size() > 1) {
    (*pod_spec)["affinity"] = NearTheirLike(labels);
  } else if (request.place.role == PodRole::kRouter) {
    (*pod_spec)["topologySpreadConstraints"] = SpreadOverHosts(labels);
  }
}

json BuildContainers(const ObservedCluster& cluster, const PodRequest& request, const json& pod_template) {
  const json own = ContainerOf(pod_template, request.place.role);
  json containers = json::array({BuildContainer(cluster, request, own)});
  for (const json& other : pod_template.value("/spec/containers"_json_pointer, json::array())) {
    if (other != own) containers.push_back(other);
  }
  return containers;
}

json BuildPodSpec(const ObservedCluster& cluster, const PodRequest& request, const json& pod_template,
                  const json& labels) {
  const int grace = request.place.role == PodRole::kHead
                        ? kHeadGraceSeconds
                        : static_cast<int>(DrainSeconds(request.spec)) + kGraceBeyondDrainSeconds;
  json spec = Merged({{"automountServiceAccountToken", false},
                      {"enableServiceLinks", false},
                      {"terminationGracePeriodSeconds", grace}},
                     Members(pod_template, "spec", json::object()));
  spec["restartPolicy"] = "Always";
  spec["securityContext"] = Merged({{"runAsNonRoot", true},
                                    {"runAsUser", kUser},
                                    {"runAsGroup", kUser},
                                    {"fsGroup", kUser},
                                    {"seccompProfile", {{"type", "RuntimeDefault"}}}},
                                   Members(spec, "securityContext", json::object()));
  spec["volumes"] = MergedList(BuildVolumes(cluster, request), Members(spec, "volumes", json::array()), "name");
  spec["containers"] = BuildContainers(cluster, request, pod_template);
  AddTopology(request, labels, &spec);
  return spec;
}

}  // namespace

const v1::WorkerGroupSpec* FindWorkerGroup(const v1::InferenceClusterSpec& spec, const std::string& group_name) {
  for (const v1::WorkerGroupSpec& group : spec.worker_group_specs()) {
    if (group.group_name() == group_name) return &group;
  }
  return nullptr;
}

bool MayScaleToZero(const v1::InferenceClusterSpec& spec) {
  const auto& groups = spec.worker_group_specs();
  return std::all_of(groups.begin(), groups.end(), [](const auto& group) { return group.min_replicas() == 0; });
}

json TemplateOf(const v1::InferenceClusterSpec& spec, PodRole role, const std::string& worker_group) {
  const google::protobuf::Struct* written = nullptr;
  if (role == PodRole::kHead && spec.head_group_spec().has_template_()) {
    written = &spec.head_group_spec().template_();
  } else if (role == PodRole::kRouter && spec.router_spec().has_template_()) {
    written = &spec.router_spec().template_();
  } else if (const v1::WorkerGroupSpec* group = FindWorkerGroup(spec, worker_group);
             role == PodRole::kWorker && group != nullptr && group->has_template_()) {
    written = &group->template_();
  }
  return written == nullptr ? json() : ToJson(*written);
}

json ContainerOf(const json& pod_template, PodRole role) {
  if (!pod_template.is_object()) return json::object();
  const json containers = pod_template.value("/spec/containers"_json_pointer, json::array());
  for (const json& container : containers) {
    if (container.value("name", "") == PodRoleName(role)) return container;
  }
  return containers.empty() ? json::object() : containers.front();
}

json BuildPod(const ObservedCluster& cluster, const PodRequest& request) {
  json pod_template = TemplateOf(request.spec, request.place.role, request.place.worker_group);
  if (!pod_template.is_object()) pod_template = json::object();
  const json own_labels = BuildLabels(cluster, request);
  json metadata = ObjectMetadata(cluster, request.name);
  metadata["labels"] = Merged(pod_template.value("/metadata/labels"_json_pointer, json::object()), own_labels);
  metadata["annotations"] = Merged({{"prometheus.io/scrape", "true"},
                                    {"prometheus.io/scheme", "https"},
                                    {"prometheus.io/path", "/metrics"},
                                    {"prometheus.io/port", absl::StrCat(AdminPort(request.place.role))}},
                                   pod_template.value("/metadata/annotations"_json_pointer, json::object()));
  return {{"apiVersion", "v1"},
          {"kind", "Pod"},
          {"metadata", metadata},
          {"spec", BuildPodSpec(cluster, request, pod_template, own_labels)}};
}

}  // namespace slmmesh
