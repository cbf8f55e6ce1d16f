#include "operator/status_difference.h"

#include <google/protobuf/util/message_differencer.h>

#include "nlohmann/json.hpp"
#include "operator/api_json.h"

namespace slmmesh {
namespace {

using google::protobuf::util::MessageDifferencer;

v1::InferenceClusterStatus WithoutLoads(const v1::InferenceClusterStatus& status) {
  v1::InferenceClusterStatus bare = status;
  bare.clear_tokens_per_second();
  for (v1::WorkerGroupStatus& group : *bare.mutable_worker_groups()) {
    group.clear_running_requests();
    group.clear_waiting_requests();
    group.clear_kv_utilization();
    group.clear_tokens_per_second();
  }
  return bare;
}

}  // namespace

StatusDifference CompareStatus(const v1::InferenceClusterStatus& before, const v1::InferenceClusterStatus& after) {
  if (MessageDifferencer::Equals(before, after)) return StatusDifference::kNone;
  if (MessageDifferencer::Equals(WithoutLoads(before), WithoutLoads(after))) return StatusDifference::kLoadsOnly;
  return StatusDifference::kReal;
}

nlohmann::json StatusPatch(const v1::InferenceClusterStatus& before, const v1::InferenceClusterStatus& after) {
  return {{"status", MergePatchBetween(JsonFromMessage(before), JsonFromMessage(after))}};
}

}  // namespace slmmesh
