// The group behind rank 0 as one model, and the loop of the ranks that follow.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "worker/collective/communicator.h"
#include "worker/engine/model_runner.h"
#include "worker/model/model.h"
#include "worker/server/shard_models.h"
#include "worker/server/step_plan.h"

namespace slmmesh {

// Rank 0's side. One thread; an error means that the epoch is over.
class GroupRunner : public ModelRunner {
 public:
  // `which`: what the other ranks are told to run.
  GroupRunner(Model* model, Communicator* communicator, absl::Duration step_timeout,
              PlanModel which = PlanModel::kTarget)
      : model_(model), communicator_(communicator), step_timeout_(step_timeout), which_(which) {}

  uint32_t vocab_size() const override { return static_cast<uint32_t>(model_->config().vocab_size); }
  absl::Status Run(const StepBatch& batch, absl::Span<const float>* logits) override;
  // While idle: tells the other ranks that rank 0 is there, and hears that they are.
  absl::Status KeepAlive();
  // Lets the other ranks leave in order.
  absl::Status ShutDown();

 private:
  absl::Status Announce(PlanKind kind, const StepBatch& batch);
  absl::Status GatherRows(int64_t rows, absl::Span<const float> local, absl::Span<const float>* logits);

  Model* const model_;
  Communicator* const communicator_;
  const absl::Duration step_timeout_;
  const PlanModel which_;
  uint64_t step_ = 0;
  std::vector<float> gathered_;  // by rank: [L, vocab_columns()[rank]]
  std::vector<float> logits_;    // [L, vocab_size]
};

// The other ranks' side: runs what rank 0 announces until it shuts the epoch down (OK) or the epoch breaks. A rank 0
// that says nothing for `silence_timeout` broke it.
absl::Status FollowPlans(const ShardModels& models, Communicator* communicator, absl::Duration silence_timeout);

}  // namespace slmmesh
