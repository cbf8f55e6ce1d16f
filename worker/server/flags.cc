#include "worker/server/flags.h"

#include <algorithm>
#include <filesystem>
#include <optional>

#include "absl/flags/flag.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/net.h"
#include "common/status.h"
#include "worker/model/kv_type.h"
#include "worker/model/matrix_format.h"
#include "worker/server/host.h"

ABSL_FLAG(std::string, model, "", "a Hugging Face folder or a .gguf file; required");
ABSL_FLAG(std::string, served_model_name, "", "the name that clients ask for; empty: the last part of --model");
ABSL_FLAG(std::string, sha256, "", "hex digest of the GGUF file, checked before loading; empty: not checked");
ABSL_FLAG(
    std::string, weights, "auto",
    "auto | bf16 | fp32 | int8 | int4: how weights are kept in memory; auto: stored integers as they are, else bf16");
ABSL_FLAG(std::string, kv_cache, "auto", "auto | bf16 | fp32 | int8; auto: fp32 with fp32 weights, else bf16");
ABSL_FLAG(uint32_t, max_model_len, 0, "longest prompt and output together, in tokens; 0: the model's own");
ABSL_FLAG(uint32_t, tensor_parallel_size, 1, "workers that make one group: 1, 2, 4 or 8");
ABSL_FLAG(uint32_t, block_size, 16, "tokens per KV block: 16, 32, 64 or 128");
ABSL_FLAG(uint32_t, max_num_seqs, 64, "requests that run at once");
ABSL_FLAG(uint32_t, max_num_batched_tokens, 512, "tokens per step: bounds what a long prompt costs running streams");
ABSL_FLAG(bool, enable_prefix_caching, true, "share KV blocks between requests with equal beginnings");
ABSL_FLAG(
    std::string, speculative_method, "none",
    "none | ngram | self-quantized | draft: what guesses the next tokens; self-quantized: the model's own copy at "
    "fewer bits");
ABSL_FLAG(
    std::string, speculative_model, "",
    "of method draft: a Hugging Face folder or a .gguf file; of self-quantized: the same model in 4 bits, as mesh "
    "convert --calibrate writes it; empty: rounded at load");
ABSL_FLAG(uint32_t, num_speculative_tokens, 5,
          "guesses that a step verifies at most, 1 to 64; fewer where they do not pay");
ABSL_FLAG(std::string, speculative_rule, "coupled",
          "coupled | rejection: answers are those without speculation, or distributed as without it");
ABSL_FLAG(double, memory_utilization, 0.9,
          "share of the container's or else the machine's memory for weights and KV cache of all ranks here, above 0 "
          "to 1");
ABSL_FLAG(uint32_t, target_step_ms, 50,
          "while answers run, a step computes no more prompt tokens than take about this long; 0: no such bound");
ABSL_FLAG(uint32_t, threads, 0,
          "compute threads; 0: the container's CPU limit, where none is set the cores divided by "
          "--tensor-parallel-size");
ABSL_FLAG(
    std::string, isa, "auto",
    "auto | reference | avx2 | avxvnni | avx512 | avx512vnni | avx512bf16 | amx | neon | neondotprod | neoni8mm; auto: "
    "the best of this machine");
ABSL_FLAG(std::string, head, "", "host:port of the head; required");
ABSL_FLAG(std::string, listen, "127.0.0.1:0", "host:port of the gRPC service; port 0: any");
ABSL_FLAG(std::string, exchange_listen, "127.0.0.1:0", "host:port for tensors from ranks on other hosts; port 0: any");
ABSL_FLAG(std::string, admin_listen, "127.0.0.1:0", "host:port of /metrics, /healthz, /readyz; empty: off");
ABSL_FLAG(std::string, advertise_host, "", "host under which others reach this worker; empty: that of --listen");
ABSL_FLAG(std::string, address_file, "", "file that gets the addresses once all listen; empty: none");
ABSL_FLAG(std::string, tls_dir, "", "folder with tls.crt, tls.key and ca.crt of this process; required");
ABSL_FLAG(std::string, cluster, "", "the cluster's name; empty: as in the certificate");
ABSL_FLAG(std::string, worker_id, "", "stable name of this worker; empty: the pod of the certificate");
ABSL_FLAG(std::string, worker_group, "default", "which of the manifest's worker groups it belongs to");
ABSL_FLAG(std::string, revision, "", "of the manifest it was started from; only workers of one revision form a group");
ABSL_FLAG(double, step_timeout_seconds, 30, "a rank that does not answer within a step for longer breaks the group");
ABSL_FLAG(double, join_timeout_seconds, 300, "how long to wait for the other ranks of a new group");
ABSL_FLAG(double, drain_seconds, 5, "how long running requests may take after SIGTERM");

namespace slmmesh {
namespace {

absl::Status Refuse(const std::string& knob, const std::string& value, const std::string& fix) {
  return absl::InvalidArgumentError(absl::StrCat("--", knob, "=", value, ": ", fix));
}

absl::Status CheckRange(const std::string& knob, double value, double min, double max) {
  if (value >= min && value <= max) return absl::OkStatus();
  return Refuse(knob, absl::StrCat(value), absl::StrCat("give ", min, " to ", max));
}

absl::Status CheckOneOf(const std::string& knob, uint32_t value, std::initializer_list<uint32_t> allowed) {
  if (std::find(allowed.begin(), allowed.end(), value) != allowed.end()) return absl::OkStatus();
  return Refuse(knob, absl::StrCat(value), absl::StrCat("give one of ", absl::StrJoin(allowed, ", ")));
}

absl::Status FillModel(WorkerConfig* config) {
  config->model = absl::GetFlag(FLAGS_model);
  if (config->model.empty()) return Refuse("model", "", "name a Hugging Face folder or a .gguf file");
  config->served_model_name = absl::GetFlag(FLAGS_served_model_name);
  if (config->served_model_name.empty()) {
    const std::filesystem::path path = std::filesystem::path(config->model).lexically_normal();
    config->served_model_name = (path.has_filename() ? path : path.parent_path()).filename().string();
  }
  config->sha256 = absl::GetFlag(FLAGS_sha256);
  config->max_model_len = absl::GetFlag(FLAGS_max_model_len);
  const std::string weights = absl::GetFlag(FLAGS_weights);
  const std::optional<WeightOptions> options = ParseWeights(weights);
  if (!options.has_value()) return Refuse("weights", weights, "give auto, bf16, fp32, int8 or int4");
  config->weights = *options;
  const std::string kv_cache = absl::GetFlag(FLAGS_kv_cache);
  const std::string kept = kv_cache != "auto" ? kv_cache : weights == "fp32" ? "fp32" : "bf16";
  const std::optional<kernels::KvType> type = ParseKvType(kept);
  if (!type.has_value()) return Refuse("kv-cache", kv_cache, "give auto, bf16, fp32 or int8");
  config->kv_cache = *type;
  return absl::OkStatus();
}

absl::Status FillEngine(WorkerConfig* config) {
  config->tensor_parallel_size = static_cast<int>(absl::GetFlag(FLAGS_tensor_parallel_size));
  RETURN_IF_ERROR(CheckOneOf("tensor-parallel-size", config->tensor_parallel_size, {1, 2, 4, 8}));
  config->block_size = absl::GetFlag(FLAGS_block_size);
  RETURN_IF_ERROR(CheckOneOf("block-size", config->block_size, {16, 32, 64, 128}));
  config->max_num_seqs = absl::GetFlag(FLAGS_max_num_seqs);
  RETURN_IF_ERROR(CheckRange("max-num-seqs", config->max_num_seqs, 1, 4096));
  config->max_num_batched_tokens = absl::GetFlag(FLAGS_max_num_batched_tokens);
  RETURN_IF_ERROR(CheckRange("max-num-batched-tokens", config->max_num_batched_tokens, config->max_num_seqs, 65536));
  config->enable_prefix_caching = absl::GetFlag(FLAGS_enable_prefix_caching);
  const uint32_t target_step_ms = absl::GetFlag(FLAGS_target_step_ms);
  RETURN_IF_ERROR(CheckRange("target-step-ms", target_step_ms, 0, 60'000));
  config->target_step = absl::Milliseconds(target_step_ms);
  config->memory_utilization = absl::GetFlag(FLAGS_memory_utilization);
  if (!(config->memory_utilization > 0 && config->memory_utilization <= 1)) {
    return Refuse("memory-utilization", absl::StrCat(config->memory_utilization), "give above 0 to 1");
  }
  return absl::OkStatus();
}

absl::StatusOr<SpeculationMethod> ParseMethod(const std::string& method) {
  for (const auto known : {SpeculationMethod::kNone, SpeculationMethod::kNgram, SpeculationMethod::kSelfQuantized,
                           SpeculationMethod::kDraft}) {
    if (method == SpeculationMethodName(known)) return known;
  }
  return Refuse("speculative-method", method, "give none, ngram, self-quantized or draft");
}

absl::Status FillSpeculation(WorkerConfig* config) {
  ASSIGN_OR_RETURN(config->speculative_method, ParseMethod(absl::GetFlag(FLAGS_speculative_method)));
  config->speculative_model = absl::GetFlag(FLAGS_speculative_model);
  const bool needs_model = config->speculative_method == SpeculationMethod::kDraft;
  const bool takes_model = needs_model || config->speculative_method == SpeculationMethod::kSelfQuantized;
  if (needs_model && config->speculative_model.empty()) {
    return Refuse("speculative-model", "", "name the draft: a Hugging Face folder or a .gguf file");
  }
  if (!takes_model && !config->speculative_model.empty()) {
    return Refuse("speculative-model", config->speculative_model,
                  "only --speculative-method=draft and self-quantized have one; leave it out");
  }
  config->num_speculative_tokens = absl::GetFlag(FLAGS_num_speculative_tokens);
  RETURN_IF_ERROR(CheckRange("num-speculative-tokens", config->num_speculative_tokens, 1, 64));
  const std::string rule = absl::GetFlag(FLAGS_speculative_rule);
  if (rule != "coupled" && rule != "rejection") return Refuse("speculative-rule", rule, "give coupled or rejection");
  config->speculative_rule = rule == "coupled" ? AcceptanceRule::kCoupled : AcceptanceRule::kRejection;
  return absl::OkStatus();
}

// A limited container holds one worker; a machine without limits is taken to hold a whole group.
int OwnCores(int tensor_parallel_size) {
  const std::optional<int> limit = CoresOfContainer();
  return limit.has_value() ? std::min(*limit, UsableCores()) : std::max(1, UsableCores() / tensor_parallel_size);
}

absl::Status FillCpu(WorkerConfig* config) {
  const uint32_t threads = absl::GetFlag(FLAGS_threads);
  RETURN_IF_ERROR(CheckRange("threads", threads, 0, 1024));
  config->cpu.threads = threads != 0 ? static_cast<int>(threads) : OwnCores(config->tensor_parallel_size);
  const std::string isa = absl::GetFlag(FLAGS_isa);
  config->cpu.automatic_isa = isa == "auto";
  if (config->cpu.automatic_isa) return absl::OkStatus();
  std::string names;
  for (const kernels::Isa supported : kernels::SupportedIsas()) {
    config->cpu.isa = supported;
    if (isa == kernels::IsaName(supported)) return absl::OkStatus();
    absl::StrAppend(&names, ", ", kernels::IsaName(supported));
  }
  return Refuse("isa", isa, absl::StrCat("this machine has auto", names));
}

absl::Status FillAddresses(WorkerConfig* config) {
  config->head = absl::GetFlag(FLAGS_head);
  RETURN_IF_ERROR(Annotate(SplitHostPort(config->head).status(), "--head"));
  config->listen = absl::GetFlag(FLAGS_listen);
  ASSIGN_OR_RETURN(const HostPort listen, SplitHostPort(config->listen));
  config->exchange_listen = absl::GetFlag(FLAGS_exchange_listen);
  RETURN_IF_ERROR(Annotate(SplitHostPort(config->exchange_listen).status(), "--exchange-listen"));
  config->admin_listen = absl::GetFlag(FLAGS_admin_listen);
  config->address_file = absl::GetFlag(FLAGS_address_file);
  config->advertise_host = absl::GetFlag(FLAGS_advertise_host);
  const std::string& host = config->advertise_host;
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {  // brackets come with the port
    config->advertise_host = host.substr(1, host.size() - 2);
  }
  if (config->advertise_host.empty()) {
    const bool any = listen.host.empty() || listen.host == "0.0.0.0" || listen.host == "::";
    config->advertise_host = any ? HostName() : listen.host;
  }
  return absl::OkStatus();
}

absl::Status FillIdentity(WorkerConfig* config) {
  const std::string folder = absl::GetFlag(FLAGS_tls_dir);
  if (folder.empty()) return Refuse("tls-dir", "", "name the folder with tls.crt, tls.key and ca.crt");
  config->tls = TlsFilesIn(folder);
  ASSIGN_OR_RETURN(const Identity identity, ReadIdentity(config->tls));
  config->cluster = absl::GetFlag(FLAGS_cluster);
  if (config->cluster.empty()) config->cluster = identity.cluster;
  config->worker_id = absl::GetFlag(FLAGS_worker_id);
  if (config->worker_id.empty()) config->worker_id = identity.pod;
  config->worker_group = absl::GetFlag(FLAGS_worker_group);
  if (config->worker_group.empty()) return Refuse("worker-group", "", "name a worker group");
  config->revision = absl::GetFlag(FLAGS_revision);
  return absl::OkStatus();
}

absl::Status FillTimeouts(WorkerConfig* config) {
  const double step = absl::GetFlag(FLAGS_step_timeout_seconds), join = absl::GetFlag(FLAGS_join_timeout_seconds);
  const double drain = absl::GetFlag(FLAGS_drain_seconds);
  RETURN_IF_ERROR(CheckRange("step-timeout-seconds", step, 0.1, 3600));
  RETURN_IF_ERROR(CheckRange("join-timeout-seconds", join, 0.1, 86400));
  RETURN_IF_ERROR(CheckRange("drain-seconds", drain, 0, 86400));
  config->step_timeout = absl::Seconds(step);
  config->join_timeout = absl::Seconds(join);
  config->drain_timeout = absl::Seconds(drain);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<WorkerConfig> WorkerConfigFromFlags() {
  WorkerConfig config;
  RETURN_IF_ERROR(FillModel(&config));
  RETURN_IF_ERROR(FillEngine(&config));
  RETURN_IF_ERROR(FillSpeculation(&config));
  RETURN_IF_ERROR(FillCpu(&config));
  RETURN_IF_ERROR(FillAddresses(&config));
  RETURN_IF_ERROR(FillIdentity(&config));
  RETURN_IF_ERROR(FillTimeouts(&config));
  return config;
}

}  // namespace slmmesh
