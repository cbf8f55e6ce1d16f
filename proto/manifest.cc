#include "proto/manifest.h"

#include <cmath>
#include <set>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/files.h"
#include "common/status.h"
#include "proto/yaml_message.h"

namespace slmmesh {
namespace {

constexpr size_t kMaxManifestBytes = 1 << 20;

void FillDefaults(v1::InferenceClusterSpec& spec) {
  if (!spec.has_tensor_parallel_size()) spec.set_tensor_parallel_size(1);
  if (!spec.has_memory_utilization()) spec.set_memory_utilization(0.9);
  auto& model = *spec.mutable_model();
  if (!model.has_weights()) model.set_weights("auto");
  if (!model.has_kv_cache()) model.set_kv_cache("auto");
  auto& engine = *spec.mutable_engine();
  if (!engine.has_block_size()) engine.set_block_size(16);
  if (!engine.has_max_num_seqs()) engine.set_max_num_seqs(64);
  if (!engine.has_max_num_batched_tokens()) engine.set_max_num_batched_tokens(512);
  if (!engine.has_enable_prefix_caching()) engine.set_enable_prefix_caching(true);
  auto& router = *spec.mutable_router_spec();
  if (!router.has_replicas()) router.set_replicas(1);
  if (!router.mutable_service()->has_port()) router.mutable_service()->set_port(8080);
  for (auto& group : *spec.mutable_worker_group_specs()) {
    if (!group.has_accelerator()) group.set_accelerator("auto");
    if (!group.has_replicas()) group.set_replicas(spec.tensor_parallel_size());
    if (!group.has_min_replicas()) group.set_min_replicas(std::min(group.replicas(), spec.tensor_parallel_size()));
    if (!group.has_max_replicas()) group.set_max_replicas(group.replicas());
  }
}

// A DNS label (RFC 1123): names become host names, file names and certificate names.
bool IsDnsLabel(const std::string& name) {
  if (name.empty() || name.size() > 63 || name.front() == '-' || name.back() == '-') return false;
  for (char c : name) {
    if (!absl::ascii_islower(c) && !absl::ascii_isdigit(c) && c != '-') return false;
  }
  return true;
}

class Checker {
 public:
  explicit Checker(const FieldLines& lines) : lines_(lines) {}

  absl::Status Require(bool ok, const std::string& path, const std::string& problem) const {
    return ok ? absl::OkStatus() : lines_.Error(path, problem);
  }
  absl::Status Name(const std::string& path, const std::string& value) const {
    return Require(IsDnsLabel(value), path,
                   absl::StrCat("\"", value, "\" is not a name; write 1 to 63 of a-z, 0-9 and - (not at the ends)"));
  }
  absl::Status OneOf(const std::string& path, const std::string& value, const std::vector<std::string>& known) const {
    return Require(std::find(known.begin(), known.end(), value) != known.end(), path,
                   absl::StrCat("\"", value, "\" is not known; write one of ", absl::StrJoin(known, ", ")));
  }
  absl::Status Range(const std::string& path, double value, double low, double high) const {
    return Require(value >= low && value <= high, path,
                   absl::StrCat(value, " is out of range; write ", low, " to ", high));
  }

 private:
  const FieldLines& lines_;
};

absl::Status CheckModel(const Checker& check, const v1::InferenceClusterSpec& spec) {
  const auto& model = spec.model();
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
  const auto& speculative = spec.speculative();
  if (speculative.has_method()) {
    RETURN_IF_ERROR(
        check.OneOf("spec.speculative.method", speculative.method(), {"none", "draft", "self-quantized", "ngram"}));
  }
  return absl::OkStatus();
}

absl::Status CheckEngine(const Checker& check, const v1::InferenceClusterSpec& spec) {
  const uint32_t size = spec.tensor_parallel_size();
  RETURN_IF_ERROR(check.Require(size == 1 || size == 2 || size == 4 || size == 8, "spec.tensorParallelSize",
                                absl::StrCat(size, " is not a degree; write 1, 2, 4 or 8")));
  const double memory = spec.memory_utilization();
  RETURN_IF_ERROR(check.Require(memory > 0 && memory <= 1, "spec.memoryUtilization",
                                absl::StrCat(memory, " is out of range; write a fraction above 0, up to 1")));
  const uint32_t block = spec.engine().block_size();
  RETURN_IF_ERROR(check.Require(block == 16 || block == 32 || block == 64 || block == 128, "spec.engine.blockSize",
                                absl::StrCat(block, " is not a block size; write 16, 32, 64 or 128")));
  RETURN_IF_ERROR(check.Range("spec.engine.maxNumSeqs", spec.engine().max_num_seqs(), 1, 4096));
  const uint32_t batched = spec.engine().max_num_batched_tokens();
  RETURN_IF_ERROR(check.Range("spec.engine.maxNumBatchedTokens", batched, 16, 65536));
  return check.Require(batched >= spec.engine().max_num_seqs(), "spec.engine.maxNumBatchedTokens",
                       absl::StrCat(batched, " is below maxNumSeqs (", spec.engine().max_num_seqs(),
                                    "); each running request needs a token a step: write at least that"));
}

absl::Status CheckSampling(const Checker& check, const v1::SamplingDefaults& sampling) {
  const std::string path = "spec.samplingDefaults";
  if (sampling.has_temperature()) RETURN_IF_ERROR(check.Range(path + ".temperature", sampling.temperature(), 0, 2));
  if (sampling.has_top_p()) {
    RETURN_IF_ERROR(
        check.Require(sampling.top_p() > 0 && sampling.top_p() <= 1, path + ".topP",
                      absl::StrCat(sampling.top_p(), " is out of range; write a fraction above 0, up to 1")));
  }
  if (sampling.has_min_p()) RETURN_IF_ERROR(check.Range(path + ".minP", sampling.min_p(), 0, 1));
  if (sampling.has_repetition_penalty()) {
    RETURN_IF_ERROR(check.Range(path + ".repetitionPenalty", sampling.repetition_penalty(), 0.01, 10));
  }
  if (sampling.has_max_tokens()) RETURN_IF_ERROR(check.Range(path + ".maxTokens", sampling.max_tokens(), 1, 1 << 24));
  return absl::OkStatus();
}

absl::Status CheckGroups(const Checker& check, const v1::InferenceClusterSpec& spec) {
  RETURN_IF_ERROR(check.Require(spec.worker_group_specs_size() > 0, "spec.workerGroupSpecs",
                                "missing; write at least one group of workers"));
  std::set<std::string> names;
  for (int i = 0; i < spec.worker_group_specs_size(); ++i) {
    const auto& group = spec.worker_group_specs(i);
    const std::string path = absl::StrCat("spec.workerGroupSpecs[", i, "]");
    RETURN_IF_ERROR(check.Name(path + ".groupName", group.group_name()));
    RETURN_IF_ERROR(check.Require(names.insert(group.group_name()).second, path + ".groupName",
                                  absl::StrCat("\"", group.group_name(), "\" is used twice; name each group once")));
    RETURN_IF_ERROR(check.OneOf(path + ".accelerator", group.accelerator(), {"auto", "cpu", "nvidia"}));
    RETURN_IF_ERROR(check.Require(
        group.replicas() % spec.tensor_parallel_size() == 0, path + ".replicas",
        absl::StrCat(group.replicas(), " pods do not make whole groups; write a multiple of tensorParallelSize (",
                     spec.tensor_parallel_size(), ")")));
    RETURN_IF_ERROR(check.Require(group.min_replicas() <= group.replicas() && group.replicas() <= group.max_replicas(),
                                  path + ".replicas",
                                  absl::StrCat(group.replicas(), " is not between minReplicas (", group.min_replicas(),
                                               ") and maxReplicas (", group.max_replicas(), ")")));
  }
  return absl::OkStatus();
}

absl::Status CheckRouter(const Checker& check, const v1::RouterSpec& router) {
  RETURN_IF_ERROR(check.Range("spec.routerSpec.replicas", router.replicas(), 1, 1000));
  RETURN_IF_ERROR(check.Range("spec.routerSpec.service.port", router.service().port(), 0, 65535));
  return check.Require(router.has_tls_cert_file() == router.has_tls_key_file(), "spec.routerSpec.tlsCertFile",
                       "a certificate and its key go together; write both tlsCertFile and tlsKeyFile");
}

absl::Status Check(const v1::InferenceCluster& cluster, const FieldLines& lines) {
  const Checker check(lines);
  RETURN_IF_ERROR(check.OneOf("apiVersion", cluster.api_version(), {"slmmesh.io/v1alpha1"}));
  RETURN_IF_ERROR(check.OneOf("kind", cluster.kind(), {"InferenceCluster"}));
  RETURN_IF_ERROR(check.Name("metadata.name", cluster.metadata().name()));
  RETURN_IF_ERROR(CheckModel(check, cluster.spec()));
  RETURN_IF_ERROR(CheckEngine(check, cluster.spec()));
  RETURN_IF_ERROR(CheckSampling(check, cluster.spec().sampling_defaults()));
  RETURN_IF_ERROR(CheckRouter(check, cluster.spec().router_spec()));
  return CheckGroups(check, cluster.spec());
}

}  // namespace

absl::StatusOr<v1::InferenceCluster> ParseManifest(const std::string& yaml, const std::string& file) {
  v1::InferenceCluster cluster;
  FieldLines lines;
  RETURN_IF_ERROR(ParseYamlMessage(yaml, file, {{"gpuMemoryUtilization", "memoryUtilization"}}, &cluster, &lines));
  FillDefaults(*cluster.mutable_spec());
  RETURN_IF_ERROR(Check(cluster, lines));
  return cluster;
}

absl::StatusOr<v1::InferenceCluster> LoadManifest(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string yaml, ReadFile(path, kMaxManifestBytes));
  return ParseManifest(yaml, path);
}

}  // namespace slmmesh
