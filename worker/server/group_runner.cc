#include "worker/server/group_runner.h"

#include <cstring>

#include "common/status.h"

namespace slmmesh {
namespace {

// How many floats of [rows, vocab] each rank gives.
std::vector<size_t> CountsOf(const Model& model, int64_t rows) {
  std::vector<size_t> counts;
  for (const int64_t columns : model.vocab_columns()) counts.push_back(static_cast<size_t>(rows * columns));
  return counts;
}

}  // namespace

absl::Status GroupRunner::Announce(PlanKind kind, const StepBatch& batch) {
  if (communicator_->size() == 1) return absl::OkStatus();
  std::string bytes = EncodeStepPlan(kind, which_, ++step_, batch);
  return communicator_->Broadcast(&bytes, step_timeout_);
}

absl::Status GroupRunner::Run(const StepBatch& batch, absl::Span<const float>* logits) {
  RETURN_IF_ERROR(Announce(PlanKind::kStep, batch));
  absl::Span<const float> local;
  RETURN_IF_ERROR(model_->Forward(batch, *communicator_, &local));
  if (communicator_->size() == 1) {
    *logits = local;
    return absl::OkStatus();
  }
  return GatherRows(static_cast<int64_t>(batch.logit_rows.size()), local, logits);
}

absl::Status GroupRunner::GatherRows(int64_t rows, absl::Span<const float> local, absl::Span<const float>* logits) {
  const size_t vocab = vocab_size();
  gathered_.resize(rows * vocab);
  logits_.resize(rows * vocab);
  RETURN_IF_ERROR(communicator_->GatherToRoot(local, CountsOf(*model_, rows), gathered_.data()));
  const float* from = gathered_.data();
  size_t first_column = 0;
  for (const int64_t columns : model_->vocab_columns()) {
    for (int64_t row = 0; row < rows; ++row, from += columns) {
      std::memcpy(&logits_[row * vocab + first_column], from, columns * sizeof(float));
    }
    first_column += columns;
  }
  *logits = logits_;
  return absl::OkStatus();
}

absl::Status GroupRunner::KeepAlive() {
  RETURN_IF_ERROR(Announce(PlanKind::kKeepAlive, {}));
  const std::vector<float> here = {1};
  std::vector<float> all(communicator_->size());
  return communicator_->GatherToRoot(here, std::vector<size_t>(all.size(), 1), all.data());
}

absl::Status GroupRunner::ShutDown() { return Announce(PlanKind::kShutDown, {}); }

absl::Status FollowPlans(const ShardModels& models, Communicator* communicator, absl::Duration silence_timeout) {
  const std::vector<float> here = {1};
  const std::vector<size_t> one_each(communicator->size(), 1);
  std::string bytes;
  while (true) {
    RETURN_IF_ERROR(communicator->Broadcast(&bytes, silence_timeout));
    ASSIGN_OR_RETURN(const StepPlan plan, DecodeStepPlan(bytes));
    if (plan.kind == PlanKind::kShutDown) return absl::OkStatus();
    if (plan.kind == PlanKind::kKeepAlive) {
      RETURN_IF_ERROR(communicator->GatherToRoot(here, one_each, nullptr));
      continue;
    }
    Model* const model = plan.model == PlanModel::kDraft ? models.draft : models.target;
    if (model == nullptr) return absl::InternalError("rank 0 runs a draft model that this rank does not have");
    absl::Span<const float> logits;
    RETURN_IF_ERROR(model->Forward(plan.batch, *communicator, &logits));
    const std::vector<size_t> counts = CountsOf(*model, static_cast<int64_t>(plan.batch.logit_rows.size()));
    RETURN_IF_ERROR(communicator->GatherToRoot(logits, counts, nullptr));
  }
}

}  // namespace slmmesh
