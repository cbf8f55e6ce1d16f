// A step's batch as rank 0 sends it to the other ranks (proto group.proto).
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "worker/model/step_batch.h"

namespace slmmesh {

enum class PlanKind {
  kStep,       // run the batch, give the logits
  kKeepAlive,  // nothing to run: answer that you are there
  kShutDown,   // the epoch ends in order
};

enum class PlanModel {
  kTarget,  // the model that is served
  kDraft,   // the one that guesses
};

struct StepPlan {
  PlanKind kind = PlanKind::kKeepAlive;
  PlanModel model = PlanModel::kTarget;
  StepBatch batch;  // with kStep
};

std::string EncodeStepPlan(PlanKind kind, PlanModel model, uint64_t step, const StepBatch& batch);
absl::StatusOr<StepPlan> DecodeStepPlan(const std::string& bytes);

}  // namespace slmmesh
