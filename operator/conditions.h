// Conditions as Kubernetes has them: lastTransitionTime moves with the status alone. Pure.
#pragma once

#include <string>

#include "absl/time/time.h"
#include "slmmesh/v1/cluster.pb.h"

namespace slmmesh {

struct ConditionValue {
  std::string status;  // True | False | Unknown
  std::string reason;
  std::string message;
};

void SetCondition(const std::string& type, const ConditionValue& value, uint32_t generation, absl::Time now,
                  v1::InferenceClusterStatus* status);
// An empty one where the status has none.
const v1::Condition& FindCondition(const v1::InferenceClusterStatus& status, const std::string& type);

}  // namespace slmmesh
