#include "proto/raycluster_template.h"

#include <algorithm>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

namespace slmmesh {
namespace {

using Names = std::set<std::string>;

constexpr char kModelFolder[] = "/models";

const Names& KeptPodFields() {
  static const auto* const kNames = new Names{
      "nodeSelector",     "tolerations",   "affinity",         "topologySpreadConstraints", "priorityClassName",
      "runtimeClassName", "schedulerName", "imagePullSecrets", "serviceAccountName"};
  return *kNames;
}

class TemplateImporter {
 public:
  TemplateImporter(const std::string& role, const std::string& path, std::vector<std::string>* notes)
      : role_(role), path_(path), notes_(*notes) {}

  ImportedTemplate Import(const OrderedJson& pod_template) {
    const OrderedJson& spec = Member(pod_template, "spec");
    const OrderedJson& containers = Member(spec, "containers");
    OrderedJson ours = {{"name", role_}};
    if (containers.is_array() && !containers.empty()) ours = ImportContainer(containers[0]);
    OrderedJson pod_spec = ImportPodSpec(spec);
    pod_spec["containers"] = OrderedJson::array({std::move(ours)});
    AddSidecars(containers, &pod_spec["containers"]);
    AddVolumes(Member(spec, "volumes"), &pod_spec);
    OrderedJson metadata = ImportMetadata(Member(pod_template, "metadata"));
    if (!metadata.empty()) result_.pod["metadata"] = std::move(metadata);
    result_.pod["spec"] = std::move(pod_spec);
    return std::move(result_);
  }

 private:
  void Note(const std::string& field, const std::string& what) {
    notes_.push_back(absl::StrCat(path_, ".", field, ": ", what));
  }

  void NoteDropped(const std::string& field, const std::vector<std::string>& names, const std::string& why) {
    if (!names.empty()) Note(field, absl::StrCat(absl::StrJoin(names, ", "), ": dropped; ", why));
  }

  static OrderedJson ImportMetadata(const OrderedJson& metadata) {
    OrderedJson kept = OrderedJson::object();
    for (const char* kind : {"labels", "annotations"}) {
      const OrderedJson& values = Member(metadata, kind);
      if (!values.is_object()) continue;
      for (const auto& [key, value] : values.items()) {
        if (value.is_string() && !absl::StrContains(key, "ray.io/")) kept[kind][key] = value;
      }
    }
    return kept;
  }

  OrderedJson ImportPodSpec(const OrderedJson& spec) {
    OrderedJson kept = OrderedJson::object();
    std::vector<std::string> dropped;
    if (!spec.is_object()) return kept;
    for (const auto& [key, value] : spec.items()) {
      if (KeptPodFields().count(key) > 0) {
        kept[key] = value;
      } else if (key != "containers" && key != "volumes") {
        dropped.push_back(key);
      }
    }
    NoteDropped("spec", dropped, "the operator decides it, or it is Ray's");
    return kept;
  }

  OrderedJson ImportContainer(const OrderedJson& container) {
    OrderedJson ours = {{"name", role_}};
    if (const std::string image = StringMember(container, "image"); !image.empty()) {
      Note("spec.containers[0].image", absl::StrCat("\"", image, "\": replaced by this project's own image"));
    }
    std::vector<std::string> dropped;
    if (container.is_object()) {
      for (const auto& [key, value] : container.items()) {
        static const auto* const kHandled =
            new Names{"name", "image", "imagePullPolicy", "resources", "env", "volumeMounts", "ports", "envFrom"};
        if (kHandled->count(key) == 0) dropped.push_back(key);
      }
    }
    NoteDropped("spec.containers[0]", dropped, "the operator starts another program, with its own");
    ReadArguments(container);
    ReadPorts(Member(container, "ports"));
    AddEnvironment(container, &ours);
    AddResources(Member(container, "resources"), &ours);
    AddMounts(Member(container, "volumeMounts"), &ours);
    return ours;
  }

  // `--model X`, `--model=X`, also inside one shell command.
  void ReadArguments(const OrderedJson& container) {
    std::vector<std::string> words;
    for (const char* list : {"command", "args"}) {
      const OrderedJson& texts = Member(container, list);
      if (!texts.is_array()) continue;
      for (const OrderedJson& text : texts) {
        if (!text.is_string()) continue;
        for (const auto word :
             absl::StrSplit(text.get<std::string>(), absl::ByAnyChar(" \t\n='\""), absl::SkipEmpty())) {
          words.emplace_back(word);
        }
      }
    }
    for (size_t i = 0; i + 1 < words.size(); ++i) {
      const std::string& value = words[i + 1];
      uint32_t number = 0;
      const bool is_number = absl::SimpleAtoi(value, &number);
      if (words[i] == "--model" || (words[i] == "serve" && i > 0 && words[i - 1] == "vllm")) result_.vllm.model = value;
      if (words[i] == "--served-model-name") result_.vllm.served_name = value;
      if (words[i] == "--tensor-parallel-size" && is_number) result_.vllm.tensor_parallel_size = number;
      if (words[i] == "--max-model-len" && is_number) result_.vllm.max_model_len = number;
    }
  }

  void ReadPorts(const OrderedJson& ports) {
    if (!ports.is_array()) return;
    std::vector<std::string> names;
    for (const OrderedJson& port : ports) {
      const OrderedJson& number = Member(port, "containerPort");
      if (!number.is_number() || number.get<double>() < 1 || number.get<double>() > 65535) continue;
      result_.ports.push_back(static_cast<uint32_t>(number.get<double>()));
      const std::string name = StringMember(port, "name");
      names.push_back(absl::StrCat(result_.ports.back(), name.empty() ? "" : absl::StrCat(" (", name, ")")));
    }
    NoteDropped("spec.containers[0].ports", names, "the programs have ports of their own");
  }

  void AddEnvironment(const OrderedJson& container, OrderedJson* ours) {
    const OrderedJson& variables = Member(container, "env");
    std::vector<std::string> dropped;
    OrderedJson kept = OrderedJson::array();
    if (variables.is_array()) {
      for (const OrderedJson& variable : variables) {
        const std::string name = StringMember(variable, "name");
        const bool is_theirs = absl::StartsWith(name, "RAY_") || absl::StartsWith(name, "VLLM_") ||
                               absl::StartsWith(name, "HF_") || absl::StartsWith(name, "HUGGING_FACE_");
        if (is_theirs) {
          dropped.push_back(name);
        } else if (!name.empty()) {
          kept.push_back(variable);
        }
      }
    }
    if (!Member(container, "envFrom").is_null()) (*ours)["envFrom"] = container["envFrom"];
    if (!kept.empty()) (*ours)["env"] = std::move(kept);
    NoteDropped("spec.containers[0].env", dropped, "Ray's and vLLM's");
  }

  void AddResources(const OrderedJson& resources, OrderedJson* ours) {
    // Ray's head also served the API and kept objects; ours only keeps a table.
    if (role_ == "head") {
      (*ours)["resources"] = {{"requests", {{"cpu", "1"}, {"memory", "1Gi"}}}};
      if (!resources.is_null())
        Note("spec.containers[0].resources", "the head needs little: 1 cpu and 1Gi are asked for");
      return;
    }
    double gpus = 0;
    for (const char* kind : {"limits", "requests"}) {
      const OrderedJson& quantities = Member(resources, kind);
      if (!quantities.is_object()) continue;
      for (const auto& [name, quantity] : quantities.items()) {
        (*ours)["resources"][kind][name] = AsQuantity(quantity);
        if (name == "nvidia.com/gpu") gpus = std::max(gpus, NumberOf(quantity));
      }
    }
    result_.has_gpus = gpus > 0;
    if (gpus > 1) {
      Note(
          "spec.containers[0].resources",
          absl::StrCat("nvidia.com/gpu ", gpus, " is kept, but a worker uses one GPU and the others stay idle; to use ",
                       "them all, write 1 here, ", gpus, " times the replicas, and tensorParallelSize ", gpus,
                       " where the model does not fit in one GPU"));
    }
  }

  // As the API server wants quantities: strings or whole numbers.
  static OrderedJson AsQuantity(const OrderedJson& quantity) {
    if (!quantity.is_number_float()) return quantity;
    return absl::StrCat(quantity.get<double>());
  }

  static double NumberOf(const OrderedJson& quantity) {
    double number = 0;
    if (quantity.is_number()) return quantity.get<double>();
    if (quantity.is_string() && !absl::SimpleAtod(quantity.get<std::string>(), &number)) return 0;
    return number;
  }

  void AddMounts(const OrderedJson& mounts, OrderedJson* ours) {
    if (role_ == "head" || !mounts.is_array()) return;
    const bool is_taken = std::any_of(mounts.begin(), mounts.end(), [](const OrderedJson& mount) {
      return StringMember(mount, "mountPath") == kModelFolder;
    });
    OrderedJson kept = OrderedJson::array();
    for (OrderedJson mount : mounts) {
      const std::string place = StringMember(mount, "mountPath");
      const std::string volume = StringMember(mount, "name");
      if (place.empty() || volume.empty()) continue;
      if (absl::StartsWith(place, "/tmp/ray")) {
        Note("spec.containers[0].volumeMounts", absl::StrCat(place, ": dropped; it held Ray's sessions"));
        continue;
      }
      if (absl::StrContains(place, "/huggingface") && !is_taken) {
        mount["mountPath"] = kModelFolder;
        mount["readOnly"] = true;
        Note("spec.containers[0].volumeMounts",
             absl::StrCat("volume \"", volume, "\" is kept, now at ", kModelFolder, " (it was ", place,
                          ") and read-only: nothing is downloaded here"));
      }
      result_.mounts.push_back(StringMember(mount, "mountPath"));
      volumes_.insert(volume);
      kept.push_back(std::move(mount));
    }
    if (!kept.empty()) (*ours)["volumeMounts"] = std::move(kept);
  }

  void AddSidecars(const OrderedJson& containers, OrderedJson* ours) {
    if (!containers.is_array()) return;
    for (size_t i = 1; i < containers.size(); ++i) {
      const std::string name = StringMember(containers[i], "name");
      if (name.empty() || name == role_) continue;
      ours->push_back(containers[i]);
      Note(absl::StrCat("spec.containers[", i, "]"), absl::StrCat("\"", name, "\" is kept beside the ", role_));
      const OrderedJson& mounts = Member(containers[i], "volumeMounts");
      if (!mounts.is_array()) continue;
      for (const OrderedJson& mount : mounts) volumes_.insert(StringMember(mount, "name"));
    }
  }

  void AddVolumes(const OrderedJson& volumes, OrderedJson* pod_spec) {
    if (!volumes.is_array()) return;
    std::vector<std::string> dropped;
    for (const OrderedJson& volume : volumes) {
      const std::string name = StringMember(volume, "name");
      if (volumes_.count(name) == 0) {
        dropped.push_back(name);
      } else {
        (*pod_spec)["volumes"].push_back(volume);
      }
    }
    NoteDropped("spec.volumes", dropped, "nothing mounts it here");
  }

  const std::string role_;
  const std::string path_;
  std::vector<std::string>& notes_;
  ImportedTemplate result_;
  Names volumes_;  // that something mounts
};

}  // namespace

const OrderedJson& Member(const OrderedJson& object, const std::string& key) {
  static const auto* const kNull = new OrderedJson();
  if (!object.is_object()) return *kNull;
  const auto found = object.find(key);
  return found == object.end() ? *kNull : *found;
}

std::string StringMember(const OrderedJson& object, const std::string& key) {
  const OrderedJson& member = Member(object, key);
  return member.is_string() ? member.get<std::string>() : "";
}

ImportedTemplate ImportRayTemplate(const OrderedJson& pod_template, const std::string& role, const std::string& path,
                                   std::vector<std::string>* notes) {
  return TemplateImporter(role, path, notes).Import(pod_template);
}

}  // namespace slmmesh
