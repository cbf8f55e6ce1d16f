#include "operator/conditions.h"

#include "operator/autoscale.h"

namespace slmmesh {

void SetCondition(const std::string& type, const ConditionValue& value, uint32_t generation, absl::Time now,
                  v1::InferenceClusterStatus* status) {
  v1::Condition* condition = nullptr;
  for (v1::Condition& other : *status->mutable_conditions()) {
    if (other.type() == type) condition = &other;
  }
  if (condition == nullptr) condition = status->add_conditions();
  if (condition->status() != value.status) condition->set_last_transition_time(TimeText(now));
  condition->set_type(type);
  condition->set_status(value.status);
  condition->set_reason(value.reason);
  condition->set_message(value.message);
  condition->set_observed_generation(generation);
}

const v1::Condition& FindCondition(const v1::InferenceClusterStatus& status, const std::string& type) {
  for (const v1::Condition& condition : status.conditions()) {
    if (condition.type() == type) return condition;
  }
  return v1::Condition::default_instance();
}

}  // namespace slmmesh
