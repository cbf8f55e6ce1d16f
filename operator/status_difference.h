// Whether, and as which patch, a status is to be written.
#pragma once

#include "nlohmann/json_fwd.hpp"
#include "slmmesh/v1/cluster.pb.h"

namespace slmmesh {

enum class StatusDifference {
  kNone,
  kLoadsOnly,  // requests, tokens a second, use of the KV cache: written now and then, not each time
  kReal,
};
StatusDifference CompareStatus(const v1::InferenceClusterStatus& before, const v1::InferenceClusterStatus& after);

// The merge patch for the status subresource.
nlohmann::json StatusPatch(const v1::InferenceClusterStatus& before, const v1::InferenceClusterStatus& after);

}  // namespace slmmesh
