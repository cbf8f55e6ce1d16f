#include "proto/raycluster_import.h"

#include <google/protobuf/struct.pb.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/status.h"
#include "proto/manifest.h"
#include "proto/raycluster_template.h"
#include "proto/yaml_message.h"
#include "proto/yaml_writer.h"

namespace slmmesh {
namespace {

using google::protobuf::Struct;
using google::protobuf::Value;
using Names = std::set<std::string>;

constexpr char kPathToFillIn[] = "/models/CHANGE-ME";
constexpr uint32_t kVllmPort = 8000;

// With sorted keys; whole numbers as such. As deep as ParseYamlMessage lets it be.
OrderedJson ToJson(const Struct& fields);

OrderedJson ToJson(const Value& value) {
  switch (value.kind_case()) {
    case Value::kStructValue:
      return ToJson(value.struct_value());
    case Value::kListValue: {
      OrderedJson list = OrderedJson::array();
      for (const Value& item : value.list_value().values()) list.push_back(ToJson(item));
      return list;
    }
    case Value::kStringValue:
      return value.string_value();
    case Value::kBoolValue:
      return value.bool_value();
    case Value::kNumberValue: {
      const double number = value.number_value();
      if (std::floor(number) == number && std::abs(number) < 1e15) return static_cast<int64_t>(number);
      return number;
    }
    default:
      return nullptr;
  }
}

OrderedJson ToJson(const Struct& fields) {
  const std::map<std::string, Value> sorted(fields.fields().begin(), fields.fields().end());
  OrderedJson object = OrderedJson::object();
  for (const auto& [key, value] : sorted) object[key] = ToJson(value);
  return object;
}

absl::Status CheckKind(const OrderedJson& object, const FieldLines& lines) {
  const std::string version = StringMember(object, "apiVersion");
  const std::string kind = StringMember(object, "kind");
  if (!absl::StartsWith(version, "ray.io/")) {
    return lines.Error(".apiVersion", absl::StrCat("\"", version, "\" is not KubeRay's; write ray.io/v1"));
  }
  if (kind == "RayService" || kind == "RayJob") {
    return lines.Error(".kind", absl::StrCat("\"", kind, "\" starts programs on Ray, which do not run here; write a ",
                                             "RayCluster whose spec is its ",
                                             kind == "RayJob" ? "rayClusterSpec" : "rayClusterConfig"));
  }
  if (kind != "RayCluster") {
    return lines.Error(".kind", absl::StrCat("\"", kind, "\" cannot be imported; write RayCluster"));
  }
  return absl::OkStatus();
}

class Importer {
 public:
  Importer(const OrderedJson& ray, const ImportOptions& options, ImportedCluster* result)
      : ray_(ray), spec_(Member(ray, "spec")), options_(options), notes_(result->notes), result_(*result) {}

  OrderedJson Import() {
    NoteFields("spec", spec_, {"headGroupSpec", "workerGroupSpecs", "enableInTreeAutoscaling", "autoscalerOptions"});
    const OrderedJson& head = Member(spec_, "headGroupSpec");
    NoteFields("spec.headGroupSpec", head, {"template", "serviceType"});
    head_ = ImportRayTemplate(Member(head, "template"), "head", "spec.headGroupSpec.template", &notes_);
    vllm_ = head_.vllm;
    const OrderedJson& groups = Member(spec_, "workerGroupSpecs");
    for (size_t i = 0; groups.is_array() && i < groups.size(); ++i) ReadWorkerGroup(groups[i], i);
    const uint32_t size = ChooseTensorParallelSize();
    OrderedJson worker_groups = OrderedJson::array();
    for (const WorkerGroup& group : groups_) worker_groups.push_back(ImportWorkerGroup(group, size));

    OrderedJson spec;
    spec["model"] = ImportModel();
    spec["tensorParallelSize"] = size;
    spec["headGroupSpec"]["template"] = std::move(head_.pod);
    spec["routerSpec"] = ImportRouter(StringMember(head, "serviceType"));
    spec["workerGroupSpecs"] = std::move(worker_groups);
    if (OrderedJson autoscaling = ImportAutoscaling(); !autoscaling.is_null()) spec["autoscaling"] = autoscaling;
    OrderedJson cluster;
    cluster["apiVersion"] = "slmmesh.io/v1alpha1";
    cluster["kind"] = "InferenceCluster";
    cluster["metadata"] = ImportMetadata();
    cluster["spec"] = std::move(spec);
    return cluster;
  }

 private:
  struct WorkerGroup {
    const OrderedJson* spec;
    std::string path;
    ImportedTemplate pods;
  };

  void Note(const std::string& field, const std::string& what) { notes_.push_back(absl::StrCat(field, ": ", what)); }

  void NoteFields(const std::string& path, const OrderedJson& object, const Names& handled) {
    if (!object.is_object()) return;
    for (const auto& [key, value] : object.items()) {
      if (handled.count(key) == 0) Note(absl::StrCat(path, ".", key), "has no meaning here; dropped");
    }
  }

  OrderedJson ImportMetadata() {
    const OrderedJson& metadata = Member(ray_, "metadata");
    OrderedJson kept = {{"name", StringMember(metadata, "name")}};
    if (const std::string ns = StringMember(metadata, "namespace"); !ns.empty()) kept["namespace"] = ns;
    for (const char* kind : {"labels", "annotations"}) {
      const OrderedJson& values = Member(metadata, kind);
      if (!values.is_object()) continue;
      for (const auto& [key, value] : values.items()) {
        const bool is_tools = absl::StrContains(key, "ray.io/") || absl::StrContains(key, "kubectl.kubernetes.io/");
        if (!is_tools && value.is_string()) kept[kind][key] = value;
      }
    }
    return kept;
  }

  OrderedJson ImportModel() {
    OrderedJson model;
    const std::string name = StringMember(Member(ray_, "metadata"), "name");
    model["servedName"] = FirstOf(options_.served_name, vllm_.served_name, FirstOf(vllm_.model, name, ""));
    if (options_.served_name.empty()) {
      Note("spec.model.servedName",
           absl::StrCat("to be checked: clients ask for \"", model["servedName"].get<std::string>(),
                        "\"; --served-name says otherwise"));
    }
    model["path"] = options_.model_path;
    if (options_.model_path.empty()) model["path"] = IsMounted(vllm_.model) ? vllm_.model : kPathToFillIn;
    if (model["path"] == kPathToFillIn) {
      result_.needs_model_path = true;
      Note(
          "spec.model.path",
          "to be filled in: a RayCluster does not say which model it serves. Write the folder with config.json, or the "
          ".gguf file, as the worker pods see it (in a Hugging Face cache: "
          "/models/hub/models--OWNER--NAME/snapshots/REVISION), or give --model-path");
    }
    if (vllm_.max_model_len > 0) model["maxModelLen"] = vllm_.max_model_len;
    return model;
  }

  static std::string FirstOf(const std::string& a, const std::string& b, const std::string& c) {
    return !a.empty() ? a : !b.empty() ? b : c;
  }

  bool IsMounted(const std::string& path) const {
    if (!absl::StartsWith(path, "/")) return false;
    return std::any_of(groups_.begin(), groups_.end(), [&path](const WorkerGroup& group) {
      return std::any_of(group.pods.mounts.begin(), group.pods.mounts.end(), [&path](const std::string& mount) {
        return path == mount || absl::StartsWith(path, absl::StrCat(mount, "/"));
      });
    });
  }

  OrderedJson ImportRouter(const std::string& service_type) {
    OrderedJson router = {{"replicas", 1}};
    if (!service_type.empty()) router["service"]["type"] = service_type;
    const auto& ports = head_.ports;
    if (std::find(ports.begin(), ports.end(), kVllmPort) != ports.end()) {
      router["service"]["port"] = kVllmPort;
      Note("spec.routerSpec.service.port", "8000, as vLLM's API had on the head; the Service is called as the cluster");
    }
    router["template"]["spec"]["containers"] =
        OrderedJson::array({{{"name", "router"}, {"resources", {{"requests", {{"cpu", "1"}, {"memory", "1Gi"}}}}}}});
    return router;
  }

  uint32_t ChooseTensorParallelSize() {
    if (options_.tensor_parallel_size > 0) return options_.tensor_parallel_size;
    const uint32_t size = vllm_.tensor_parallel_size;
    if (size == 1 || size == 2 || size == 4 || size == 8) {
      Note("spec.tensorParallelSize", absl::StrCat(size, ", as vLLM's arguments say; so many pods share one model"));
      return size;
    }
    Note("spec.tensorParallelSize",
         "1: every pod holds the whole model and is a serving group of its own, which keeps the numbers of replicas; "
         "--tensor-parallel-size says otherwise");
    return 1;
  }

  void ReadWorkerGroup(const OrderedJson& group, size_t index) {
    const std::string path = absl::StrCat("spec.workerGroupSpecs[", index, "]");
    NoteFields(path, group, {"groupName", "replicas", "minReplicas", "maxReplicas", "template", "numOfHosts"});
    if (const auto hosts = Count(group, "numOfHosts"); hosts.has_value() && *hosts > 1) {
      Note(path + ".numOfHosts", absl::StrCat(*hosts, ": dropped; replicas counts pods, check the number"));
    }
    groups_.push_back(
        {&group, path, ImportRayTemplate(Member(group, "template"), "worker", path + ".template", &notes_)});
    const VllmArguments& vllm = groups_.back().pods.vllm;
    if (vllm_.model.empty()) vllm_ = vllm;
  }

  // A whole number that is not negative; none where there is none.
  static std::optional<uint32_t> Count(const OrderedJson& object, const std::string& key) {
    const OrderedJson& number = Member(object, key);
    if (!number.is_number()) return std::nullopt;
    const double value = number.get<double>();
    if (!(value >= 0 && value <= 1e6) || std::floor(value) != value) return std::nullopt;
    return static_cast<uint32_t>(value);
  }

  // Up to whole serving groups.
  uint32_t WholeGroups(const std::string& field, uint32_t pods, uint32_t size) {
    const uint32_t whole = (pods + size - 1) / size * size;
    if (whole != pods) {
      Note(field, absl::StrCat(pods, " became ", whole, ", a multiple of tensorParallelSize (", size, ")"));
    }
    return whole;
  }

  OrderedJson ImportWorkerGroup(const WorkerGroup& group, uint32_t size) {
    OrderedJson ours;
    ours["groupName"] = ImportGroupName(group);
    ours["accelerator"] = group.pods.has_gpus ? "nvidia" : "cpu";
    Note(group.path + ".accelerator",
         group.pods.has_gpus ? "nvidia, as nvidia.com/gpu is asked for" : "cpu, as no nvidia.com/gpu is asked for");
    for (const char* field : {"replicas", "minReplicas", "maxReplicas"}) {
      if (const auto pods = Count(*group.spec, field)) {
        ours[field] = WholeGroups(absl::StrCat(group.path, ".", field), *pods, size);
      } else if (!Member(*group.spec, field).is_null()) {
        Note(absl::StrCat(group.path, ".", field), "dropped; it is not a number of pods");
      }
    }
    RaiseToMinimum(group.path, &ours);
    ours["template"] = group.pods.pod;
    return ours;
  }

  // KubeRay takes replicas outside of the bounds for the nearer bound.
  void RaiseToMinimum(const std::string& path, OrderedJson* group) {
    const auto least = Count(*group, "minReplicas");
    const auto pods = Count(*group, "replicas");
    const auto most = Count(*group, "maxReplicas");
    if (least.has_value() && !pods.has_value()) (*group)["replicas"] = *least;
    if (!pods.has_value()) return;
    if (least.has_value() && *pods < *least) {
      (*group)["replicas"] = *least;
      Note(path + ".replicas", absl::StrCat(*pods, " became minReplicas, ", *least));
    } else if (most.has_value() && *pods > *most) {
      (*group)["replicas"] = *most;
      Note(path + ".replicas", absl::StrCat(*pods, " became maxReplicas, ", *most));
    }
  }

  std::string ImportGroupName(const WorkerGroup& group) {
    const std::string theirs = StringMember(*group.spec, "groupName");
    std::string name = absl::AsciiStrToLower(theirs.substr(0, 40));
    for (char& c : name) {
      if (!absl::ascii_isalnum(c)) c = '-';
    }
    while (!name.empty() && name.back() == '-') name.pop_back();
    name.erase(0, std::min(name.size(), name.find_first_not_of('-')));
    if (name != theirs) Note(group.path + ".groupName", absl::StrCat("\"", theirs, "\" became \"", name, "\""));
    return name;
  }

  OrderedJson ImportAutoscaling() {
    const OrderedJson& options = Member(spec_, "autoscalerOptions");
    if (Member(spec_, "enableInTreeAutoscaling") != true) {
      NoteFields("spec.autoscalerOptions", options, {});
      return nullptr;
    }
    OrderedJson autoscaling = OrderedJson::object();
    Note("spec.autoscaling", "on, as enableInTreeAutoscaling was; it follows the requests that wait");
    NoteFields("spec.autoscalerOptions", options, {"idleTimeoutSeconds"});
    if (const auto idle = Count(options, "idleTimeoutSeconds")) autoscaling["scaleDownAfterSeconds"] = *idle;
    return autoscaling;
  }

  const OrderedJson& ray_;
  const OrderedJson& spec_;
  const ImportOptions& options_;
  std::vector<std::string>& notes_;
  ImportedCluster& result_;
  ImportedTemplate head_;
  std::vector<WorkerGroup> groups_;
  VllmArguments vllm_;
};

}  // namespace

absl::StatusOr<ImportedCluster> ImportRayCluster(const std::string& yaml, const ImportOptions& options) {
  FieldLines lines;
  Struct tree;
  RETURN_IF_ERROR(ParseYamlMessage(yaml, options.file, {}, &tree, &lines));
  const OrderedJson ray = ToJson(tree);
  RETURN_IF_ERROR(CheckKind(ray, lines));
  ImportedCluster result;
  result.yaml = WriteYaml(Importer(ray, options, &result).Import());
  // What is wrong with the result is wrong with what it was made from.
  RETURN_IF_ERROR(Annotate(ParseManifest(result.yaml, "InferenceCluster").status(), options.file));
  return result;
}

}  // namespace slmmesh
