// The plan: from what is observed, the time and the operator's settings to a list of steps and the status to write.
// Pure: no clock, no randomness, no calls. Every decision of the operator is made here or in what this includes.
#pragma once

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "nlohmann/json.hpp"
#include "operator/observed.h"

namespace slmmesh {

enum class StepKind {
  // names: pods whose certificate is to be in the Secret, made anew where RenewalIsDue; others are taken out of it.
  kIssueCertificates,
  kApplyService,  // object; uid of the one of ours that is there, empty: there is none, nor is another's taken over
  kApplyDisruptionBudget,
  kCreatePod,               // object; a name taken already counts as done
  kDeletePod,               // name, uid; grace_seconds
  kDeleteDisruptionBudget,  // name, uid
  // names: worker ids (pod names), the whole list, to the head. If it fails the status is not written: status.draining
  // is what the head was told.
  kSetDraining,
  kRollBack,  // object: the spec to write; the annotation is taken off with it
  kEvent,     // warning, reason, message
};

struct Step {
  StepKind kind;
  std::string name;
  std::string uid;
  int grace_seconds = -1;
  std::vector<std::string> names;
  nlohmann::json object;
  bool warning = false;
  std::string reason, message;

  std::string ToString() const;  // "CreatePod demo-cpu-r1-0": what table tests compare
};

struct ClusterPlan {
  std::vector<Step> steps;                                  // in order; the first that fails ends the pass
  v1::InferenceClusterStatus status;                        // written, last, when it differs from the observed one
  absl::Duration look_again_in = absl::InfiniteDuration();  // for what only time changes
};

// Level-based: each call decides anew from what is observed; all memory is in the status.
ClusterPlan PlanCluster(const Observed& observed, const OperatorSettings& settings, absl::Time now);

// Two thirds of a certificate's time are over.
bool RenewalIsDue(absl::Time not_after, const OperatorSettings& settings, absl::Time now);

}  // namespace slmmesh
