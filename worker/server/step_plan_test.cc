#include "worker/server/step_plan.h"

#include "gtest/gtest.h"

namespace slmmesh {
namespace {

TEST(StepPlan, CarriesEveryFieldOfABatch) {
  const StepBatch batch = {{1, 2, 3}, {4, 5, 0}, {0, 2, 3}, {7, 8, 9}, {0, 1, 3}, {1, 2}};
  const auto plan = DecodeStepPlan(EncodeStepPlan(PlanKind::kStep, PlanModel::kTarget, 1, batch));
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->kind, PlanKind::kStep);
  EXPECT_EQ(plan->batch.tokens, batch.tokens);
  EXPECT_EQ(plan->batch.positions, batch.positions);
  EXPECT_EQ(plan->batch.query_start, batch.query_start);
  EXPECT_EQ(plan->batch.block_table, batch.block_table);
  EXPECT_EQ(plan->batch.block_start, batch.block_start);
  EXPECT_EQ(plan->batch.logit_rows, batch.logit_rows);
}

TEST(StepPlan, NamesTheModel) {
  const StepBatch batch = {{1}, {0}, {0, 1}, {0}, {0, 1}, {}};
  for (const PlanModel model : {PlanModel::kTarget, PlanModel::kDraft}) {
    EXPECT_EQ(DecodeStepPlan(EncodeStepPlan(PlanKind::kStep, model, 1, batch))->model, model);
  }
}

TEST(StepPlan, TellsItsOtherKindsApart) {
  EXPECT_EQ(DecodeStepPlan(EncodeStepPlan(PlanKind::kKeepAlive, PlanModel::kTarget, 2, {}))->kind,
            PlanKind::kKeepAlive);
  EXPECT_EQ(DecodeStepPlan(EncodeStepPlan(PlanKind::kShutDown, PlanModel::kTarget, 3, {}))->kind, PlanKind::kShutDown);
}

TEST(StepPlan, GarbageIsAnError) { EXPECT_FALSE(DecodeStepPlan("\xff\xff\xff").ok()); }

}  // namespace
}  // namespace slmmesh
