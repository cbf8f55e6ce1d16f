#include "proto/manifest.h"

#include <algorithm>

#include "common/files.h"
#include "common/status.h"
#include "proto/manifest_check.h"
#include "proto/yaml_message.h"

namespace slmmesh {
namespace {

constexpr size_t kMaxManifestBytes = 1 << 20;

void FillEngineDefaults(v1::EngineSpec& engine) {
  if (!engine.has_block_size()) engine.set_block_size(16);
  if (!engine.has_max_num_seqs()) engine.set_max_num_seqs(64);
  if (!engine.has_max_num_batched_tokens()) engine.set_max_num_batched_tokens(512);
  if (!engine.has_enable_prefix_caching()) engine.set_enable_prefix_caching(true);
}

void FillRouterDefaults(v1::RouterSpec& router) {
  if (!router.has_replicas()) router.set_replicas(1);
  auto& service = *router.mutable_service();
  if (!service.has_type()) service.set_type("ClusterIP");
  if (!service.has_port()) service.set_port(8080);
}

void FillRolloutDefaults(v1::RolloutSpec& rollout) {
  if (!rollout.has_max_surge()) rollout.set_max_surge(1);
  if (!rollout.has_max_unavailable()) rollout.set_max_unavailable(0);
  if (!rollout.has_drain_seconds()) rollout.set_drain_seconds(60);
  if (!rollout.has_progress_deadline_seconds()) rollout.set_progress_deadline_seconds(600);
  if (!rollout.has_history_limit()) rollout.set_history_limit(10);
}

void FillAutoscalingDefaults(v1::AutoscalingSpec& autoscaling) {
  if (!autoscaling.has_target_queue_milliseconds()) autoscaling.set_target_queue_milliseconds(200);
  if (!autoscaling.has_scale_down_after_seconds()) autoscaling.set_scale_down_after_seconds(300);
  if (!autoscaling.has_scale_to_zero_after_seconds()) autoscaling.set_scale_to_zero_after_seconds(0);
  if (!autoscaling.has_target_kv_utilization()) autoscaling.set_target_kv_utilization(0.8);
  if (!autoscaling.has_scale_up_after_seconds()) autoscaling.set_scale_up_after_seconds(5);
}

void FillSpeculativeDefaults(v1::SpeculativeSpec& speculative) {
  if (!speculative.has_method()) speculative.set_method("none");
  if (!speculative.has_num_speculative_tokens()) speculative.set_num_speculative_tokens(5);
  if (!speculative.has_rule()) speculative.set_rule("coupled");
}

// The bounds that are not written follow what is asked for: `groups` in the first group, else `replicas`.
void FillWorkerGroupDefaults(const v1::InferenceClusterSpec& spec, bool first, v1::WorkerGroupSpec& group) {
  const uint32_t size = spec.tensor_parallel_size();
  if (!group.has_accelerator()) group.set_accelerator("auto");
  if (!group.has_replicas()) group.set_replicas(size);
  const uint32_t wanted = first && spec.has_groups() ? spec.groups() * size : group.replicas();
  if (!group.has_min_replicas()) group.set_min_replicas(std::min({group.replicas(), wanted, size}));
  if (!group.has_max_replicas()) group.set_max_replicas(std::max(group.replicas(), wanted));
}

// The schema in deploy/crds has the same (manifest_crd_test.cc), but for those that depend on another field.
void FillDefaults(v1::InferenceClusterSpec& spec) {
  if (!spec.has_tensor_parallel_size()) spec.set_tensor_parallel_size(1);
  if (!spec.has_memory_utilization()) spec.set_memory_utilization(0.9);
  auto& model = *spec.mutable_model();
  if (!model.has_weights()) model.set_weights("auto");
  if (!model.has_kv_cache()) model.set_kv_cache("auto");
  if (spec.has_speculative()) FillSpeculativeDefaults(*spec.mutable_speculative());
  FillEngineDefaults(*spec.mutable_engine());
  FillRouterDefaults(*spec.mutable_router_spec());
  FillRolloutDefaults(*spec.mutable_rollout());
  if (spec.has_autoscaling()) FillAutoscalingDefaults(*spec.mutable_autoscaling());
  for (int i = 0; i < spec.worker_group_specs_size(); ++i) {
    FillWorkerGroupDefaults(spec, i == 0, *spec.mutable_worker_group_specs(i));
  }
}

}  // namespace

absl::StatusOr<v1::InferenceCluster> ParseManifest(const std::string& yaml, const std::string& file) {
  v1::InferenceCluster cluster;
  FieldLines lines;
  RETURN_IF_ERROR(ParseYamlMessage(yaml, file, {{"gpuMemoryUtilization", "memoryUtilization"}}, &cluster, &lines));
  FillDefaults(*cluster.mutable_spec());
  RETURN_IF_ERROR(CheckManifest(cluster, lines));
  return cluster;
}

absl::StatusOr<v1::InferenceCluster> LoadManifest(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string yaml, ReadFile(path, kMaxManifestBytes));
  return ParseManifest(yaml, path);
}

}  // namespace slmmesh
