#include "worker/server/step_plan.h"

#include "slmmesh/v1/group.pb.h"

namespace slmmesh {
namespace {

using Field = google::protobuf::RepeatedField<uint32_t>;

void Fill(const std::vector<uint32_t>& values, Field* field) { field->Add(values.begin(), values.end()); }
std::vector<uint32_t> Values(const Field& field) { return {field.begin(), field.end()}; }

}  // namespace

std::string EncodeStepPlan(PlanKind kind, PlanModel model, uint64_t step, const StepBatch& batch) {
  v1::StepPlan plan;
  plan.set_step(step);
  plan.set_shutdown(kind == PlanKind::kShutDown);
  plan.set_draft(model == PlanModel::kDraft);
  if (kind == PlanKind::kStep) {
    Fill(batch.tokens, plan.mutable_tokens());
    Fill(batch.positions, plan.mutable_positions());
    Fill(batch.query_start, plan.mutable_query_start());
    Fill(batch.block_table, plan.mutable_block_table());
    Fill(batch.block_start, plan.mutable_block_start());
    Fill(batch.logit_rows, plan.mutable_logit_rows());
  }
  return plan.SerializeAsString();
}

absl::StatusOr<StepPlan> DecodeStepPlan(const std::string& bytes) {
  v1::StepPlan plan;
  if (!plan.ParseFromString(bytes)) return absl::InternalError("rank 0 sent a step plan that cannot be read");
  StepPlan decoded;
  if (plan.shutdown()) {
    decoded.kind = PlanKind::kShutDown;
  } else if (plan.tokens_size() != 0) {
    decoded.kind = PlanKind::kStep;
    decoded.model = plan.draft() ? PlanModel::kDraft : PlanModel::kTarget;
    decoded.batch = {Values(plan.tokens()),      Values(plan.positions()),   Values(plan.query_start()),
                     Values(plan.block_table()), Values(plan.block_start()), Values(plan.logit_rows())};
  }
  return decoded;
}

}  // namespace slmmesh
