#include "cli/process_plan.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/status.h"

namespace slmmesh {
namespace {

std::string Knob(const std::string& name, const std::string& value) { return absl::StrCat("--", name, "=", value); }
template <typename T>
std::string Knob(const std::string& name, T value) {
  return absl::StrCat("--", name, "=", value);
}

absl::Status CheckSupported(const v1::InferenceClusterSpec& spec) {
  if (spec.speculative().has_method() && spec.speculative().method() != "none") {
    return absl::InvalidArgumentError(absl::StrCat("spec.speculative.method: \"", spec.speculative().method(),
                                                   "\" is not served by this version; write none"));
  }
  for (const char* weights : {"int8", "int4", "fp8"}) {
    if (spec.model().weights() == weights) {
      return absl::InvalidArgumentError(
          absl::StrCat("spec.model.weights: ", weights, " is not served by this version; write auto, bf16 or fp32"));
    }
    if (spec.model().kv_cache() == weights) {
      return absl::InvalidArgumentError(
          absl::StrCat("spec.model.kvCache: ", weights, " is not served by this version; write auto, bf16 or fp32"));
    }
  }
  for (const auto& group : spec.worker_group_specs()) {
    if (group.accelerator() == "nvidia") {
      return absl::InvalidArgumentError(
          absl::StrCat("spec.workerGroupSpecs: group \"", group.group_name(),
                       "\" asks for accelerator nvidia, which this version does not serve; write cpu or auto"));
    }
  }
  return absl::OkStatus();
}

std::string ModelPath(const v1::InferenceCluster& cluster, const PlanContext& context) {
  const std::string& path = cluster.spec().model().path();
  return absl::StartsWith(path, "/") ? path : absl::StrCat(context.manifest_folder, "/", path);
}

std::vector<std::string> CommonArgs(const std::string& program, const std::string& name,
                                    const v1::InferenceCluster& cluster, const PlanContext& context) {
  return {program, Knob("tls-dir", TlsFolder(context.run_folder, name)), Knob("cluster", cluster.metadata().name()),
          Knob("admin-listen", "127.0.0.1:0"), Knob("log-format", "json")};
}

ProcessSpec Head(const v1::InferenceCluster& cluster, const PlanContext& context) {
  ProcessSpec head{"head", Role::kHead, CommonArgs("mesh-head", "head", cluster, context)};
  head.args.push_back(Knob("listen", "127.0.0.1:0"));
  head.args.push_back(Knob("address-file", AddressFile(context.run_folder, "head")));
  return head;
}

ProcessSpec Worker(const std::string& name, const v1::WorkerGroupSpec& group, const v1::InferenceCluster& cluster,
                   const PlanContext& context, int workers) {
  const auto& spec = cluster.spec();
  const auto& engine = spec.engine();
  const int threads = engine.threads() > 0 ? static_cast<int>(engine.threads()) : std::max(1, context.cores / workers);
  ProcessSpec worker{name, Role::kWorker, CommonArgs("mesh-worker", name, cluster, context)};
  auto add = [&worker](std::string knob) { worker.args.push_back(std::move(knob)); };
  add(Knob("head", kHeadAddress));
  add(Knob("listen", "127.0.0.1:0"));
  add(Knob("exchange-listen", "127.0.0.1:0"));
  add(Knob("worker-id", name));
  add(Knob("worker-group", group.group_name()));
  add(Knob("model", ModelPath(cluster, context)));
  add(Knob("served-model-name", spec.model().served_name()));
  if (spec.model().has_sha256()) add(Knob("sha256", spec.model().sha256()));
  add(Knob("weights", spec.model().weights()));
  add(Knob("kv-cache", spec.model().kv_cache()));
  if (spec.model().has_max_model_len()) add(Knob("max-model-len", spec.model().max_model_len()));
  add(Knob("tensor-parallel-size", spec.tensor_parallel_size()));
  // The knob speaks of the whole machine; a worker divides its own by its group's size.
  add(Knob("memory-utilization", spec.memory_utilization() * spec.tensor_parallel_size() / workers));
  add(Knob("block-size", engine.block_size()));
  add(Knob("max-num-seqs", engine.max_num_seqs()));
  add(Knob("max-num-batched-tokens", engine.max_num_batched_tokens()));
  add(Knob("enable-prefix-caching", engine.enable_prefix_caching() ? "true" : "false"));
  add(Knob("threads", threads));
  add(Knob("isa", context.isa));
  return worker;
}

void AddSamplingDefaults(const v1::SamplingDefaults& defaults, std::vector<std::string>* args) {
  if (defaults.has_temperature()) args->push_back(Knob("default-temperature", defaults.temperature()));
  if (defaults.has_top_p()) args->push_back(Knob("default-top-p", defaults.top_p()));
  if (defaults.has_top_k()) args->push_back(Knob("default-top-k", defaults.top_k()));
  if (defaults.has_min_p()) args->push_back(Knob("default-min-p", defaults.min_p()));
  if (defaults.has_repetition_penalty()) {
    args->push_back(Knob("default-repetition-penalty", defaults.repetition_penalty()));
  }
  if (defaults.has_max_tokens()) args->push_back(Knob("default-max-tokens", defaults.max_tokens()));
}

ProcessSpec Router(int index, const v1::InferenceCluster& cluster, const PlanContext& context) {
  const std::string name = absl::StrCat("router-", index);
  const auto& spec = cluster.spec().router_spec();
  // Only one process can take the port; further routers take free ones.
  const uint32_t port = index == 0 ? spec.service().port() : 0;
  ProcessSpec router{name, Role::kRouter, CommonArgs("mesh-router", name, cluster, context)};
  auto add = [&router](std::string knob) { router.args.push_back(std::move(knob)); };
  add(Knob("head", kHeadAddress));
  add(Knob("listen", absl::StrCat("127.0.0.1:", port)));
  add(Knob("grpc-listen", "127.0.0.1:0"));
  add(Knob("router-id", name));
  add(Knob("address-file", AddressFile(context.run_folder, name)));
  if (spec.has_api_keys_file()) add(Knob("api-keys-file", spec.api_keys_file()));
  if (spec.has_tls_cert_file()) add(Knob("tls-cert-file", spec.tls_cert_file()));
  if (spec.has_tls_key_file()) add(Knob("tls-key-file", spec.tls_key_file()));
  AddSamplingDefaults(cluster.spec().sampling_defaults(), &router.args);
  return router;
}

}  // namespace

std::string AddressFile(const std::string& run_folder, const std::string& process) {
  return absl::StrCat(run_folder, "/addresses/", process);
}

std::string TlsFolder(const std::string& run_folder, const std::string& process) {
  return absl::StrCat(run_folder, "/tls/", process);
}

absl::StatusOr<std::vector<ProcessSpec>> PlanProcesses(const v1::InferenceCluster& cluster,
                                                       const PlanContext& context) {
  RETURN_IF_ERROR(CheckSupported(cluster.spec()));
  int workers = 0;
  for (const auto& group : cluster.spec().worker_group_specs()) workers += static_cast<int>(group.replicas());
  std::vector<ProcessSpec> plan = {Head(cluster, context)};
  for (const auto& group : cluster.spec().worker_group_specs()) {
    for (uint32_t i = 0; i < group.replicas(); ++i) {
      plan.push_back(Worker(absl::StrCat(group.group_name(), "-", i), group, cluster, context, workers));
    }
  }
  for (uint32_t i = 0; i < cluster.spec().router_spec().replicas(); ++i) {
    plan.push_back(Router(static_cast<int>(i), cluster, context));
  }
  return plan;
}

}  // namespace slmmesh
