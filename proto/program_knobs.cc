#include "proto/program_knobs.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/status.h"

namespace slmmesh {
namespace {

constexpr uint32_t kDefaultDrainSeconds = 60;
// A cluster that may have no group at all: a request waits until a pod has come up and read its weights.
constexpr uint32_t kWaitForFirstGroupMs = 300'000;

class KnobList {
 public:
  template <typename T>
  void Add(const char* name, const T& value) {
    knobs_.push_back(absl::StrCat("--", name, "=", value));
  }
  void Add(const char* name, bool value) { Add(name, value ? "true" : "false"); }
  std::vector<std::string> Take() { return std::move(knobs_); }

 private:
  std::vector<std::string> knobs_;
};

absl::Status NotServed(const std::string& field, const std::string& value, const std::string& fix) {
  return absl::InvalidArgumentError(
      absl::StrCat(field, ": \"", value, "\" is not served by this version; write ", fix));
}

void AddSamplingDefaults(const v1::SamplingDefaults& defaults, KnobList* knobs) {
  if (defaults.has_temperature()) knobs->Add("default-temperature", defaults.temperature());
  if (defaults.has_top_p()) knobs->Add("default-top-p", defaults.top_p());
  if (defaults.has_top_k()) knobs->Add("default-top-k", defaults.top_k());
  if (defaults.has_min_p()) knobs->Add("default-min-p", defaults.min_p());
  if (defaults.has_repetition_penalty()) knobs->Add("default-repetition-penalty", defaults.repetition_penalty());
  if (defaults.has_max_tokens()) knobs->Add("default-max-tokens", defaults.max_tokens());
}

void AddSpeculation(const v1::SpeculativeSpec& speculative, KnobList* knobs) {
  if (!speculative.has_method() || speculative.method() == "none") return;
  knobs->Add("speculative-method", speculative.method());
  const bool takes_model = speculative.method() == "draft" || speculative.method() == "self-quantized";
  if (takes_model && speculative.has_model()) knobs->Add("speculative-model", speculative.model().path());
  knobs->Add("num-speculative-tokens", speculative.num_speculative_tokens());
  knobs->Add("speculative-rule", speculative.rule());
}

bool MayHaveNoGroup(const v1::InferenceClusterSpec& spec) {
  const auto& groups = spec.worker_group_specs();
  return std::all_of(groups.begin(), groups.end(), [](const auto& group) { return group.min_replicas() == 0; });
}

}  // namespace

absl::Status CheckServedByThisVersion(const v1::InferenceClusterSpec& spec) {
  if (spec.model().weights() == "fp8") {  // for GPUs; a checkpoint in FP8 is read with auto
    return NotServed("spec.model.weights", "fp8", "auto, bf16, fp32, int8 or int4");
  }
  if (spec.model().kv_cache() == "fp8") return NotServed("spec.model.kvCache", "fp8", "auto, bf16, fp32 or int8");
  for (int i = 0; i < spec.worker_group_specs_size(); ++i) {
    if (spec.worker_group_specs(i).accelerator() != "nvidia") continue;
    return NotServed(absl::StrCat("spec.workerGroupSpecs[", i, "].accelerator"), "nvidia", "cpu or auto");
  }
  return absl::OkStatus();
}

std::vector<std::string> HeadKnobs(const v1::InferenceCluster& cluster) {
  KnobList knobs;
  knobs.Add("cluster", cluster.metadata().name());
  return knobs.Take();
}

std::vector<std::string> WorkerKnobs(const v1::InferenceCluster& cluster, const v1::WorkerGroupSpec& group) {
  const v1::InferenceClusterSpec& spec = cluster.spec();
  const v1::ModelSpec& model = spec.model();
  const v1::EngineSpec& engine = spec.engine();
  KnobList knobs;
  knobs.Add("cluster", cluster.metadata().name());
  knobs.Add("worker-group", group.group_name());
  knobs.Add("model", model.path());
  knobs.Add("served-model-name", model.served_name());
  if (model.has_sha256()) knobs.Add("sha256", model.sha256());
  knobs.Add("weights", model.weights());
  knobs.Add("kv-cache", model.kv_cache());
  if (model.has_max_model_len()) knobs.Add("max-model-len", model.max_model_len());
  knobs.Add("tensor-parallel-size", spec.tensor_parallel_size());
  knobs.Add("memory-utilization", spec.memory_utilization());
  knobs.Add("block-size", engine.block_size());
  knobs.Add("max-num-seqs", engine.max_num_seqs());
  knobs.Add("max-num-batched-tokens", engine.max_num_batched_tokens());
  knobs.Add("enable-prefix-caching", engine.enable_prefix_caching());
  if (engine.has_threads()) knobs.Add("threads", engine.threads());
  AddSpeculation(spec.speculative(), &knobs);
  knobs.Add("drain-seconds", DrainSeconds(spec));
  return knobs.Take();
}

std::vector<std::string> RouterKnobs(const v1::InferenceCluster& cluster) {
  const v1::InferenceClusterSpec& spec = cluster.spec();
  const v1::RouterSpec& router = spec.router_spec();
  KnobList knobs;
  knobs.Add("cluster", cluster.metadata().name());
  knobs.Add("served-model-name", spec.model().served_name());
  if (router.has_api_keys_file()) knobs.Add("api-keys-file", router.api_keys_file());
  if (router.has_tls_cert_file()) knobs.Add("tls-cert-file", router.tls_cert_file());
  if (router.has_tls_key_file()) knobs.Add("tls-key-file", router.tls_key_file());
  AddSamplingDefaults(spec.sampling_defaults(), &knobs);
  if (MayHaveNoGroup(spec)) knobs.Add("wait-for-group-ms", kWaitForFirstGroupMs);
  knobs.Add("drain-seconds", DrainSeconds(spec));
  return knobs.Take();
}

uint32_t DrainSeconds(const v1::InferenceClusterSpec& spec) {
  return spec.rollout().has_drain_seconds() ? spec.rollout().drain_seconds() : kDefaultDrainSeconds;
}

}  // namespace slmmesh
