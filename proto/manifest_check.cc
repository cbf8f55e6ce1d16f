#include "proto/manifest_check.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/status.h"
#include "proto/quantity.h"

namespace slmmesh {
namespace {

using google::protobuf::Struct;
using google::protobuf::Value;

constexpr uint32_t kMaxPods = 1024;  // of one worker group
constexpr int kMaxWorkerGroups = 16;
// Parts of pods' names, which are 63 characters at most.
constexpr size_t kMaxClusterName = 40;
constexpr size_t kMaxGroupName = 40;
constexpr double kDay = 24 * 3600;

// A DNS label (RFC 1123): names become host names, file names and certificate names.
bool IsDnsLabel(const std::string& name, size_t max_size) {
  if (name.empty() || name.size() > max_size || name.front() == '-' || name.back() == '-') return false;
  return std::all_of(name.begin(), name.end(),
                     [](char c) { return absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '-'; });
}

class Checker {
 public:
  explicit Checker(const FieldLines& lines) : lines_(lines) {}

  absl::Status Require(bool ok, const std::string& path, const std::string& problem) const {
    return ok ? absl::OkStatus() : lines_.Error(path, problem);
  }
  absl::Status OneOf(const std::string& path, const std::string& value, const std::vector<std::string>& known) const {
    return Require(std::find(known.begin(), known.end(), value) != known.end(), path,
                   absl::StrCat("\"", value, "\" is not known; write one of ", absl::StrJoin(known, ", ")));
  }
  absl::Status Range(const std::string& path, double value, double low, double high) const {
    return Require(value >= low && value <= high, path,
                   absl::StrCat(value, " is out of range; write ", low, " to ", high));
  }
  absl::Status Fraction(const std::string& path, double value) const {
    return Require(value > 0 && value <= 1, path,
                   absl::StrCat(value, " is out of range; write a fraction above 0, up to 1"));
  }

 private:
  const FieldLines& lines_;
};

absl::Status CheckName(const Checker& check, const std::string& name) {
  RETURN_IF_ERROR(check.Require(
      IsDnsLabel(name, kMaxClusterName) && absl::ascii_islower(name[0]), "metadata.name",
      absl::StrCat("\"", name, "\" is not a name; write a letter first, then a-z, 0-9 and - (not at the end), ",
                   kMaxClusterName, " characters at most")));
  return check.Require(
      !absl::EndsWith(name, "-head"), "metadata.name",
      absl::StrCat("\"", name, "\" is what a head's Service is called; end it otherwise than in -head"));
}

absl::Status CheckModel(const Checker& check, const v1::ModelSpec& model) {
  RETURN_IF_ERROR(check.Require(!model.served_name().empty() && model.served_name().size() <= 128,
                                "spec.model.servedName",
                                "missing or longer than 128 bytes; write what clients ask for"));
  RETURN_IF_ERROR(
      check.Require(!model.path().empty(), "spec.model.path", "missing; write a Hugging Face folder or a .gguf file"));
  RETURN_IF_ERROR(check.OneOf("spec.model.weights", model.weights(), {"auto", "bf16", "fp32", "int8", "int4", "fp8"}));
  RETURN_IF_ERROR(check.OneOf("spec.model.kvCache", model.kv_cache(), {"auto", "bf16", "fp32", "int8", "fp8"}));
  if (model.has_max_model_len())
    RETURN_IF_ERROR(check.Range("spec.model.maxModelLen", model.max_model_len(), 16, 1 << 24));
  if (model.has_sha256()) {
    bool hex = model.sha256().size() == 64;
    for (char c : model.sha256()) hex = hex && absl::ascii_isxdigit(c) && !absl::ascii_isupper(c);
    RETURN_IF_ERROR(check.Require(hex, "spec.model.sha256", "write the 64 lowercase hex digits that sha256sum prints"));
  }
  return absl::OkStatus();
}

absl::Status CheckSpeculative(const Checker& check, const v1::SpeculativeSpec& speculative) {
  const std::string path = "spec.speculative";
  RETURN_IF_ERROR(check.OneOf(path + ".method", speculative.method(), {"none", "draft", "self-quantized", "ngram"}));
  RETURN_IF_ERROR(check.Require(speculative.method() != "draft" || speculative.has_model(), path + ".model",
                                "method draft needs a draft model; write model.path"));
  RETURN_IF_ERROR(check.Require(!speculative.has_model() || !speculative.model().path().empty(), path + ".model.path",
                                "missing; write a Hugging Face folder or a .gguf file"));
  RETURN_IF_ERROR(check.OneOf(path + ".rule", speculative.rule(), {"coupled", "rejection"}));
  return check.Range(path + ".numSpeculativeTokens", speculative.num_speculative_tokens(), 1, 64);
}

absl::Status CheckEngine(const Checker& check, const v1::InferenceClusterSpec& spec) {
  const uint32_t size = spec.tensor_parallel_size();
  RETURN_IF_ERROR(check.Require(size == 1 || size == 2 || size == 4 || size == 8, "spec.tensorParallelSize",
                                absl::StrCat(size, " is not a degree; write 1, 2, 4 or 8")));
  RETURN_IF_ERROR(check.Fraction("spec.memoryUtilization", spec.memory_utilization()));
  const uint32_t block = spec.engine().block_size();
  RETURN_IF_ERROR(check.Require(block == 16 || block == 32 || block == 64 || block == 128, "spec.engine.blockSize",
                                absl::StrCat(block, " is not a block size; write 16, 32, 64 or 128")));
  RETURN_IF_ERROR(check.Range("spec.engine.maxNumSeqs", spec.engine().max_num_seqs(), 1, 4096));
  RETURN_IF_ERROR(check.Range("spec.engine.threads", spec.engine().threads(), 0, 1024));
  const uint32_t batched = spec.engine().max_num_batched_tokens();
  RETURN_IF_ERROR(check.Range("spec.engine.maxNumBatchedTokens", batched, 16, 65536));
  return check.Require(batched >= spec.engine().max_num_seqs(), "spec.engine.maxNumBatchedTokens",
                       absl::StrCat(batched, " is below maxNumSeqs (", spec.engine().max_num_seqs(),
                                    "); each running request needs a token a step: write at least that"));
}

absl::Status CheckSampling(const Checker& check, const v1::SamplingDefaults& sampling) {
  const std::string path = "spec.samplingDefaults";
  if (sampling.has_temperature()) RETURN_IF_ERROR(check.Range(path + ".temperature", sampling.temperature(), 0, 2));
  if (sampling.has_top_p()) RETURN_IF_ERROR(check.Fraction(path + ".topP", sampling.top_p()));
  if (sampling.has_top_k()) RETURN_IF_ERROR(check.Range(path + ".topK", sampling.top_k(), 0, 1 << 24));
  if (sampling.has_min_p()) RETURN_IF_ERROR(check.Range(path + ".minP", sampling.min_p(), 0, 1));
  if (sampling.has_repetition_penalty()) {
    RETURN_IF_ERROR(check.Range(path + ".repetitionPenalty", sampling.repetition_penalty(), 0.01, 10));
  }
  if (sampling.has_max_tokens()) RETURN_IF_ERROR(check.Range(path + ".maxTokens", sampling.max_tokens(), 1, 1 << 24));
  return absl::OkStatus();
}

absl::Status CheckRouter(const Checker& check, const v1::RouterSpec& router) {
  RETURN_IF_ERROR(check.Range("spec.routerSpec.replicas", router.replicas(), 1, 1000));
  RETURN_IF_ERROR(
      check.OneOf("spec.routerSpec.service.type", router.service().type(), {"ClusterIP", "NodePort", "LoadBalancer"}));
  RETURN_IF_ERROR(check.Range("spec.routerSpec.service.port", router.service().port(), 0, 65535));
  return check.Require(router.has_tls_cert_file() == router.has_tls_key_file(), "spec.routerSpec.tlsCertFile",
                       "a certificate and its key go together; write both tlsCertFile and tlsKeyFile");
}

absl::Status CheckWholeGroups(const Checker& check, const std::string& path, uint32_t pods, uint32_t size) {
  RETURN_IF_ERROR(check.Range(path, pods, 0, kMaxPods));
  return check.Require(
      pods % size == 0, path,
      absl::StrCat(pods, " pods do not make whole groups; write a multiple of tensorParallelSize (", size, ")"));
}

absl::Status CheckWorkerGroup(const Checker& check, const std::string& path, const v1::WorkerGroupSpec& group,
                              uint32_t size) {
  RETURN_IF_ERROR(check.Require(IsDnsLabel(group.group_name(), kMaxGroupName), path + ".groupName",
                                absl::StrCat("\"", group.group_name(), "\" is not a name; write 1 to ", kMaxGroupName,
                                             " of a-z, 0-9 and - (not at the ends)")));
  RETURN_IF_ERROR(check.OneOf(path + ".accelerator", group.accelerator(), {"auto", "cpu", "nvidia"}));
  RETURN_IF_ERROR(CheckWholeGroups(check, path + ".replicas", group.replicas(), size));
  RETURN_IF_ERROR(CheckWholeGroups(check, path + ".minReplicas", group.min_replicas(), size));
  RETURN_IF_ERROR(CheckWholeGroups(check, path + ".maxReplicas", group.max_replicas(), size));
  return check.Require(group.min_replicas() <= group.replicas() && group.replicas() <= group.max_replicas(),
                       path + ".replicas",
                       absl::StrCat(group.replicas(), " is not between minReplicas (", group.min_replicas(),
                                    ") and maxReplicas (", group.max_replicas(), ")"));
}

absl::Status CheckWorkerGroups(const Checker& check, const v1::InferenceClusterSpec& spec) {
  const int count = spec.worker_group_specs_size();
  RETURN_IF_ERROR(check.Require(count > 0, "spec.workerGroupSpecs", "missing; write at least one group of workers"));
  RETURN_IF_ERROR(check.Require(count <= kMaxWorkerGroups, "spec.workerGroupSpecs",
                                absl::StrCat(count, " groups; write ", kMaxWorkerGroups, " at most")));
  std::set<std::string> names;
  for (int i = 0; i < count; ++i) {
    const auto& group = spec.worker_group_specs(i);
    const std::string path = absl::StrCat("spec.workerGroupSpecs[", i, "]");
    RETURN_IF_ERROR(CheckWorkerGroup(check, path, group, spec.tensor_parallel_size()));
    RETURN_IF_ERROR(check.Require(names.insert(group.group_name()).second, path + ".groupName",
                                  absl::StrCat("\"", group.group_name(), "\" is used twice; name each group once")));
  }
  if (!spec.has_groups()) return absl::OkStatus();
  RETURN_IF_ERROR(check.Range("spec.groups", spec.groups(), 0, kMaxPods));
  const auto& first = spec.worker_group_specs(0);
  const uint32_t pods = spec.groups() * spec.tensor_parallel_size();
  return check.Require(
      first.min_replicas() <= pods && pods <= first.max_replicas(), "spec.groups",
      absl::StrCat(spec.groups(), " groups of ", spec.tensor_parallel_size(), " pods are not between minReplicas (",
                   first.min_replicas(), " pods) and maxReplicas (", first.max_replicas(),
                   " pods) of the first worker group; change one of them"));
}

absl::Status CheckRollout(const Checker& check, const v1::RolloutSpec& rollout) {
  const std::string path = "spec.rollout";
  RETURN_IF_ERROR(check.Range(path + ".maxSurge", rollout.max_surge(), 0, kMaxPods));
  RETURN_IF_ERROR(check.Range(path + ".maxUnavailable", rollout.max_unavailable(), 0, kMaxPods));
  RETURN_IF_ERROR(check.Require(rollout.max_surge() > 0 || rollout.max_unavailable() > 0, path + ".maxUnavailable",
                                "0 with maxSurge 0 lets no group be replaced; write 1 in one of them"));
  RETURN_IF_ERROR(check.Range(path + ".drainSeconds", rollout.drain_seconds(), 0, kDay));
  RETURN_IF_ERROR(check.Range(path + ".progressDeadlineSeconds", rollout.progress_deadline_seconds(), 10, kDay));
  return check.Range(path + ".historyLimit", rollout.history_limit(), 1, 50);
}

absl::Status CheckAutoscaling(const Checker& check, const v1::InferenceClusterSpec& spec) {
  const std::string path = "spec.autoscaling";
  const auto& scaling = spec.autoscaling();
  RETURN_IF_ERROR(check.Range(path + ".targetQueueMilliseconds", scaling.target_queue_milliseconds(), 1, 3600000));
  RETURN_IF_ERROR(check.Range(path + ".scaleDownAfterSeconds", scaling.scale_down_after_seconds(), 0, kDay));
  RETURN_IF_ERROR(check.Range(path + ".scaleToZeroAfterSeconds", scaling.scale_to_zero_after_seconds(), 0, 7 * kDay));
  RETURN_IF_ERROR(check.Fraction(path + ".targetKvUtilization", scaling.target_kv_utilization()));
  RETURN_IF_ERROR(check.Range(path + ".scaleUpAfterSeconds", scaling.scale_up_after_seconds(), 0, kDay));
  const auto& groups = spec.worker_group_specs();
  const bool may_have_none =
      std::any_of(groups.begin(), groups.end(), [](const auto& group) { return group.min_replicas() == 0; });
  return check.Require(
      scaling.scale_to_zero_after_seconds() == 0 || may_have_none, path + ".scaleToZeroAfterSeconds",
      absl::StrCat(scaling.scale_to_zero_after_seconds(),
                   " needs a worker group that may have no pods; write minReplicas: 0 in it, or 0 here"));
}

// What a pod template's `fields` hold at `name`, if it is of that kind; else an empty one.
const Struct& StructAt(const Struct& fields, const std::string& name) {
  const auto found = fields.fields().find(name);
  return found == fields.fields().end() ? Struct::default_instance() : found->second.struct_value();
}

absl::Status CheckQuantities(const Checker& check, const std::string& path, const Struct& quantities) {
  for (const auto& [name, value] : quantities.fields()) {
    const bool number = value.kind_case() == Value::kNumberValue;
    const std::string text = number ? absl::StrCat(value.number_value()) : value.string_value();
    const bool whole = !number || std::floor(value.number_value()) == value.number_value();
    RETURN_IF_ERROR(check.Require(
        whole && IsQuantity(text), absl::StrCat(path, ".", name),
        absl::StrCat("\"", text.substr(0, 80),
                     "\" is not a quantity; write a number with or without a unit, such as 500m, 2 or 64Gi")));
  }
  return absl::OkStatus();
}

absl::Status CheckTemplate(const Checker& check, const std::string& path, const Struct& pod) {
  const Struct& spec = StructAt(pod, "spec");
  const auto containers = spec.fields().find("containers");
  if (containers == spec.fields().end()) return absl::OkStatus();
  const auto& list = containers->second.list_value().values();
  for (int i = 0; i < list.size(); ++i) {
    const Struct& resources = StructAt(list[i].struct_value(), "resources");
    for (const char* kind : {"limits", "requests"}) {
      const std::string at = absl::StrCat(path, ".template.spec.containers[", i, "].resources.", kind);
      RETURN_IF_ERROR(CheckQuantities(check, at, StructAt(resources, kind)));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckTemplates(const Checker& check, const v1::InferenceClusterSpec& spec) {
  RETURN_IF_ERROR(CheckTemplate(check, "spec.headGroupSpec", spec.head_group_spec().template_()));
  RETURN_IF_ERROR(CheckTemplate(check, "spec.routerSpec", spec.router_spec().template_()));
  for (int i = 0; i < spec.worker_group_specs_size(); ++i) {
    RETURN_IF_ERROR(
        CheckTemplate(check, absl::StrCat("spec.workerGroupSpecs[", i, "]"), spec.worker_group_specs(i).template_()));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckManifest(const v1::InferenceCluster& cluster, const FieldLines& lines) {
  const Checker check(lines);
  const v1::InferenceClusterSpec& spec = cluster.spec();
  RETURN_IF_ERROR(check.OneOf("apiVersion", cluster.api_version(), {"slmmesh.io/v1alpha1"}));
  RETURN_IF_ERROR(check.OneOf("kind", cluster.kind(), {"InferenceCluster"}));
  RETURN_IF_ERROR(CheckName(check, cluster.metadata().name()));
  RETURN_IF_ERROR(CheckModel(check, spec.model()));
  if (spec.has_speculative()) RETURN_IF_ERROR(CheckSpeculative(check, spec.speculative()));
  RETURN_IF_ERROR(CheckEngine(check, spec));
  RETURN_IF_ERROR(CheckSampling(check, spec.sampling_defaults()));
  RETURN_IF_ERROR(CheckRouter(check, spec.router_spec()));
  RETURN_IF_ERROR(CheckWorkerGroups(check, spec));
  RETURN_IF_ERROR(CheckRollout(check, spec.rollout()));
  if (spec.has_autoscaling()) RETURN_IF_ERROR(CheckAutoscaling(check, spec));
  return CheckTemplates(check, spec);
}

}  // namespace slmmesh
