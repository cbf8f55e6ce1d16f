// Each scenario's exact sequence of steps, in a world where the rest of the cluster behaves as it should.
#include "operator/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "absl/strings/match.h"
#include "operator/conditions.h"
#include "operator/names.h"
#include "operator/testing/world.h"

namespace slmmesh {
namespace {

using nlohmann::json;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

json Spec(int replicas, int size = 1) {
  json spec = json::parse(R"({
    "model": {"servedName": "tiny", "path": "/models/tiny"},
    "workerGroupSpecs": [{"groupName": "cpu", "minReplicas": 0, "maxReplicas": 8}],
    "rollout": {"drainSeconds": 20}
  })");
  spec["tensorParallelSize"] = size;
  spec["workerGroupSpecs"][0]["replicas"] = replicas;
  return spec;
}

json WithModel(json spec, const std::string& path) {
  spec["model"]["path"] = path;
  return spec;
}

World Settled(const json& spec) {
  World world(spec);
  world.Settle();
  EXPECT_EQ(world.cluster.status.state(), "Ready") << world.cluster.status.DebugString();
  return world;
}

const v1::Condition& Condition(const World& world, const std::string& type) {
  return FindCondition(world.cluster.status, type);
}

TEST(PlanTest, CreatesAClusterOfFourPodsWithSevenCallsAndAStatus) {
  World world(Spec(2, 2));
  EXPECT_THAT(world.Reconcile(),
              ElementsAre("IssueCertificates demo-cpu-r1-0 demo-cpu-r1-1 demo-head-r1-0 demo-router-r1-0",
                          "ApplyService demo-head", "ApplyService demo", "CreatePod demo-head-r1-0",
                          "CreatePod demo-router-r1-0", "CreatePod demo-cpu-r1-0", "CreatePod demo-cpu-r1-1"));
  EXPECT_EQ(world.cluster.status.state(), "Creating");
  EXPECT_EQ(Condition(world, "Ready").status(), "False");
  EXPECT_THAT(world.Settle(), IsEmpty());
  const v1::InferenceClusterStatus& status = world.cluster.status;
  EXPECT_EQ(status.state(), "Ready");
  EXPECT_EQ(status.groups_summary(), "1/1");
  EXPECT_EQ(status.endpoint(), "http://demo.team.svc:8080");
  EXPECT_EQ(status.selector(), "slmmesh.io/cluster=demo,slmmesh.io/worker-group=cpu");
  EXPECT_EQ(status.model(), "tiny");
  EXPECT_EQ(status.history_size(), 1);
  for (const char* type : {"Ready", "Progressing", "ModelLoaded"}) EXPECT_EQ(Condition(world, type).status(), "True");
  EXPECT_EQ(Condition(world, "Degraded").status(), "False");
}

TEST(PlanTest, ReplacesAWorkerThatIsGone) {
  World world = Settled(Spec(2, 2));
  world.KillPod("demo-cpu-r1-1");
  EXPECT_THAT(world.Reconcile(), ElementsAre("CreatePod demo-cpu-r1-1"));  // its certificate is still there
  EXPECT_THAT(world.Settle(), IsEmpty());
  EXPECT_EQ(world.cluster.status.state(), "Ready");
}

TEST(PlanTest, ReplacesATerminatingWorkerAtOnceUnderAnotherName) {
  World world = Settled(Spec(2, 2));
  world.EvictPod("demo-cpu-r1-1");
  EXPECT_THAT(
      world.Reconcile(),
      ElementsAre("IssueCertificates demo-cpu-r1-0 demo-cpu-r1-1 demo-cpu-r1-1-b demo-head-r1-0 demo-router-r1-0",
                  "CreatePod demo-cpu-r1-1-b", "SetDraining demo-cpu-r1-1"));
  EXPECT_EQ(world.cluster.status.state(), "Degraded");
  EXPECT_THAT(world.Settle(), ElementsAre("SetDraining"));
  EXPECT_EQ(world.cluster.status.state(), "Ready");
}

TEST(PlanTest, ReplacesHeadAndRouterAlone) {
  World world = Settled(Spec(1));
  world.KillPod("demo-head-r1-0");
  EXPECT_THAT(world.Settle(), ElementsAre("CreatePod demo-head-r1-0"));
  world.KillPod("demo-router-r1-0");
  EXPECT_THAT(world.Settle(), ElementsAre("CreatePod demo-router-r1-0"));
  EXPECT_EQ(world.cluster.status.state(), "Ready");
}

TEST(PlanTest, ReplacesAnEvictedPodAtOnceAndLaterEachTime) {
  World world = Settled(Spec(1));
  world.FailPod("demo-cpu-r1-0", "evicted: the node was low on memory");
  EXPECT_THAT(world.Reconcile(), ElementsAre("IssueCertificates demo-cpu-r1-0-b demo-head-r1-0 demo-router-r1-0",
                                             "CreatePod demo-cpu-r1-0-b", "Event PodReplaced", "Event PodTrouble"));
  EXPECT_THAT(world.cluster.status.message(), HasSubstr("demo-cpu-r1-0: evicted: the node was low on memory"));
  world.Tick(absl::Seconds(3));
  world.FailPod("demo-cpu-r1-0-b", "evicted: the node was low on memory");
  EXPECT_THAT(world.Reconcile(), ElementsAre("Event PodTrouble"));
  const ClusterPlan waiting = world.Plan(world.Observe());
  EXPECT_EQ(waiting.look_again_in, absl::Seconds(7));
  world.Tick(absl::Seconds(7));
  EXPECT_THAT(world.Reconcile(), Contains("CreatePod demo-cpu-r1-0-c"));
  EXPECT_THAT(world.Settle(), ElementsAre("DeletePod demo-cpu-r1-0-b", "DeletePod demo-cpu-r1-0"));
  EXPECT_EQ(world.cluster.status.state(), "Ready");
}

TEST(PlanTest, ScalesUpAndDown) {
  World world = Settled(Spec(1));
  world.SetSpec(Spec(2));
  EXPECT_THAT(world.Reconcile(), ElementsAre("IssueCertificates demo-cpu-r1-0 demo-cpu-r1-1 demo-head-r1-0 "
                                             "demo-router-r1-0",
                                             "CreatePod demo-cpu-r1-1", "ApplyDisruptionBudget demo-cpu"));
  EXPECT_EQ(world.cluster.status.state(), "Scaling");
  EXPECT_THAT(world.Settle(), IsEmpty());
  EXPECT_EQ(world.cluster.status.history_size(), 1);
  world.SetSpec(Spec(1));
  EXPECT_THAT(world.Reconcile(), ElementsAre("DeleteDisruptionBudget demo-cpu", "SetDraining demo-cpu-r1-1"));
  EXPECT_THAT(world.Settle(), ElementsAre("DeletePod demo-cpu-r1-1", "SetDraining"));
  EXPECT_EQ(world.cluster.status.state(), "Ready");
  EXPECT_EQ(world.cluster.status.groups(), 1u);
}

TEST(PlanTest, ScaleSubresourceOverridesReplicasWithinTheirLimits) {
  World world = Settled(Spec(1));
  json spec = Spec(1);
  spec["groups"] = 3;
  world.SetSpec(spec);
  world.Settle();
  EXPECT_EQ(world.PodNames(PodRole::kWorker).size(), 3u);
  world.cluster.spec.set_groups(30);  // admission refuses it; an earlier version may not have
  world.cluster.generation++;
  world.Settle();
  EXPECT_EQ(world.PodNames(PodRole::kWorker).size(), 8u);
  EXPECT_EQ(Condition(world, "Scaling").reason(), "Limited");
}

TEST(PlanTest, ABusyGroupIsDrainedBeforeItsPodsGo) {
  World world = Settled(Spec(2));
  world.busy_requests = 3;
  world.Tick(absl::Seconds(1));
  world.SetSpec(Spec(1));
  EXPECT_THAT(world.Reconcile(), Contains("SetDraining demo-cpu-r1-1"));
  for (int second = 0; second < 9; ++second) {
    world.Tick(absl::Seconds(1));
    EXPECT_THAT(world.Reconcile(), IsEmpty()) << second;  // answers still run
  }
  EXPECT_THAT(world.Settle(), ElementsAre("DeletePod demo-cpu-r1-1", "SetDraining"));
}

TEST(PlanTest, WhatDoesNotEndIsCutOffAfterDrainSeconds) {
  World world = Settled(Spec(2));
  world.busy_requests = 3;
  world.answer_time = absl::Hours(1);
  world.Tick(absl::Seconds(1));
  world.SetSpec(Spec(1));
  world.Reconcile();
  world.Tick(absl::Seconds(19));
  EXPECT_THAT(world.Reconcile(), IsEmpty());
  EXPECT_EQ(world.Plan(world.Observe()).look_again_in, absl::Seconds(1));
  world.Tick(absl::Seconds(1));
  EXPECT_THAT(world.Reconcile(), Contains("DeletePod demo-cpu-r1-1"));
}

TEST(PlanTest, RollsOutWithSurge) {
  World world = Settled(Spec(2));
  world.SetSpec(WithModel(Spec(2), "/models/other"));
  EXPECT_THAT(world.Reconcile(),
              ElementsAre("IssueCertificates demo-cpu-r1-0 demo-cpu-r1-1 demo-cpu-r2-0 demo-head-r1-0 demo-router-r1-0",
                          "CreatePod demo-cpu-r2-0", "Event RolloutStarted"));
  EXPECT_EQ(world.cluster.status.state(), "Updating");
  EXPECT_THAT(world.Settle(),
              ElementsAre("SetDraining demo-cpu-r1-0", "DeletePod demo-cpu-r1-0",
                          "IssueCertificates demo-cpu-r1-0 demo-cpu-r1-1 demo-cpu-r2-0 demo-cpu-r2-1 demo-head-r1-0 "
                          "demo-router-r1-0",
                          "CreatePod demo-cpu-r2-1", "SetDraining", "SetDraining demo-cpu-r1-1",
                          "DeletePod demo-cpu-r1-1", "Event RolloutComplete", "SetDraining"));
  EXPECT_EQ(world.cluster.status.state(), "Ready");
  EXPECT_EQ(world.cluster.status.revision(), 2u);
}

TEST(PlanTest, RollsOutInPlace) {
  json spec = Spec(2);
  spec["rollout"]["maxSurge"] = 0;
  spec["rollout"]["maxUnavailable"] = 1;
  World world = Settled(spec);
  world.SetSpec(WithModel(spec, "/models/other"));
  EXPECT_THAT(world.Reconcile(), ElementsAre("SetDraining demo-cpu-r1-0", "Event RolloutStarted"));
  EXPECT_THAT(
      world.Settle(),
      ElementsAre("DeletePod demo-cpu-r1-0",
                  "IssueCertificates demo-cpu-r1-0 demo-cpu-r1-1 demo-cpu-r2-0 demo-head-r1-0 demo-router-r1-0",
                  "CreatePod demo-cpu-r2-0", "SetDraining", "SetDraining demo-cpu-r1-1", "DeletePod demo-cpu-r1-1",
                  "IssueCertificates demo-cpu-r1-1 demo-cpu-r2-0 demo-cpu-r2-1 demo-head-r1-0 demo-router-r1-0",
                  "CreatePod demo-cpu-r2-1", "SetDraining", "Event RolloutComplete"));
}

TEST(PlanTest, ARevertInMidRolloutKeepsWhatServes) {
  World world = Settled(Spec(2));
  world.SetSpec(WithModel(Spec(2), "/models/other"));
  world.Reconcile();
  world.Tick(absl::Seconds(1));
  world.SetSpec(Spec(2));
  // The new pod never started: it goes at once, and nothing else happens.
  EXPECT_THAT(world.Reconcile(),
              ElementsAre("DeletePod demo-cpu-r2-0", "Event RolloutStarted", "Event RolloutComplete"));
  EXPECT_THAT(world.Settle(), IsEmpty());
  EXPECT_EQ(world.cluster.status.revision(), 3u);
  EXPECT_THAT(world.PodNames(PodRole::kWorker), ElementsAre("demo-cpu-r1-0", "demo-cpu-r1-1"));
}

TEST(PlanTest, AThirdSpecInMidRolloutSkipsTheSecond) {
  World world = Settled(Spec(2));
  world.SetSpec(WithModel(Spec(2), "/models/second"));
  world.Reconcile();
  world.Tick(absl::Seconds(3));  // the second one's pod runs, but does not serve yet
  world.SetSpec(WithModel(Spec(2), "/models/third"));
  const std::vector<std::string> steps = world.Settle();
  EXPECT_THAT(steps, Not(Contains("CreatePod demo-cpu-r2-1")));
  EXPECT_EQ(steps.front(), "SetDraining demo-cpu-r2-0");  // first, and before any of those that serve
  EXPECT_THAT(world.PodNames(PodRole::kWorker), ElementsAre("demo-cpu-r3-0", "demo-cpu-r3-1"));
  EXPECT_EQ(world.cluster.status.state(), "Ready");
}

TEST(PlanTest, ASpecThatCannotBeScheduledStopsAndKeepsServing) {
  World world = Settled(Spec(2));
  world.never_starts = [](const WorldPod& pod) { return pod.seen.revision == 2; };
  world.SetSpec(WithModel(Spec(2), "/models/other"));
  world.Reconcile();
  world.pods.at("demo-cpu-r2-0").seen.trouble = "no node has enough memory";
  EXPECT_THAT(world.Reconcile(), ElementsAre("Event PodTrouble"));
  EXPECT_EQ(world.cluster.status.state(), "Updating");
  const ClusterPlan waiting = world.Plan(world.Observe());
  EXPECT_EQ(waiting.look_again_in, absl::Seconds(600));
  world.Tick(waiting.look_again_in);
  EXPECT_THAT(world.Reconcile(), ElementsAre("Event ProgressDeadlineExceeded"));
  EXPECT_EQ(Condition(world, "Progressing").status(), "False");
  EXPECT_EQ(Condition(world, "Progressing").reason(), "ProgressDeadlineExceeded");
  EXPECT_THAT(world.cluster.status.message(), HasSubstr("demo-cpu-r2-0: no node has enough memory"));
  EXPECT_EQ(world.cluster.status.state(), "Degraded");
  EXPECT_EQ(Condition(world, "Ready").status(), "True");
  EXPECT_EQ(world.ServingGroups().size(), 2u);
  // What was lost of the old revision is made again, from the old spec.
  world.KillPod("demo-cpu-r1-1");
  EXPECT_THAT(world.Reconcile(), ElementsAre("CreatePod demo-cpu-r1-1"));
  // A spec that works ends it.
  world.SetSpec(Spec(2));
  world.Settle();
  EXPECT_EQ(world.cluster.status.state(), "Ready");
  EXPECT_THAT(world.PodNames(PodRole::kWorker), ElementsAre("demo-cpu-r1-0", "demo-cpu-r1-1"));
}

TEST(PlanTest, AFirstSpecThatNeverServedMakesRoomForTheNext) {
  World world(Spec(1));
  world.never_starts = [](const WorldPod& pod) { return pod.seen.role == PodRole::kWorker && pod.seen.revision == 1; };
  world.Settle();
  world.pods.at("demo-cpu-r1-0").seen.trouble = "image worker:0 cannot be pulled: not found";
  world.Reconcile();
  EXPECT_EQ(world.cluster.status.state(), "Creating");
  EXPECT_THAT(world.cluster.status.message(), HasSubstr("image worker:0 cannot be pulled: not found"));
  world.SetSpec(WithModel(Spec(1), "/models/other"));
  EXPECT_THAT(world.Reconcile(), Contains("DeletePod demo-cpu-r1-0"));
  world.Settle();
  EXPECT_EQ(world.cluster.status.state(), "Ready");
}

TEST(PlanTest, AnOperatorUpgradeRestartsNothing) {
  World world = Settled(Spec(2));
  world.settings.version = "2.0";
  world.settings.worker_image = "worker:2";
  world.settings.head_image = "head:2";
  EXPECT_THAT(world.Settle(), IsEmpty());
  EXPECT_EQ(world.cluster.status.operator_version(), "2.0");
  world.KillPod("demo-cpu-r1-0");
  world.SetSpec(Spec(3));
  world.Settle();
  for (const std::string& name : world.PodNames(PodRole::kWorker)) EXPECT_EQ(world.pods.at(name).image, "worker:1");
  // A new spec takes the new images; going back takes the old ones again.
  world.SetSpec(WithModel(Spec(3), "/models/other"));
  world.Settle();
  for (const std::string& name : world.PodNames(PodRole::kWorker)) EXPECT_EQ(world.pods.at(name).image, "worker:2");
  EXPECT_EQ(world.pods.at("demo-head-r2-0").image, "head:2");
  world.SetSpec(Spec(3));
  world.Settle();
  for (const std::string& name : world.PodNames(PodRole::kWorker)) EXPECT_EQ(world.pods.at(name).image, "worker:1");
}

TEST(PlanTest, RoutersRollOneAtATimeAndAlone) {
  json spec = Spec(1);
  spec["routerSpec"] = {{"replicas", 2}};
  World world = Settled(spec);
  spec["routerSpec"]["template"] = json::parse(R"({"spec": {"containers": [{"name": "router", "image": "own:1"}]}})");
  world.SetSpec(spec);
  EXPECT_THAT(world.Reconcile(), Contains("CreatePod demo-router-r2-0"));
  EXPECT_THAT(world.Settle(), testing::IsSupersetOf({"DeletePod demo-router-r1-0", "DeletePod demo-router-r1-1"}));
  EXPECT_THAT(world.PodNames(PodRole::kRouter), ElementsAre("demo-router-r2-0", "demo-router-r2-1"));
  EXPECT_THAT(world.PodNames(PodRole::kWorker), ElementsAre("demo-cpu-r1-0"));
  EXPECT_THAT(world.PodNames(PodRole::kHead), ElementsAre("demo-head-r1-0"));
}

TEST(PlanTest, RollsBackToANumberOfTheHistory) {
  World world = Settled(Spec(1));
  world.SetSpec(WithModel(Spec(2), "/models/other"));
  world.Settle();
  world.Annotate(kRollbackAnnotation, "7");
  EXPECT_THAT(world.Reconcile(), ElementsAre("Event RollbackFailed"));
  EXPECT_THAT(world.cluster.status.message(), HasSubstr("write one of 1, 2"));
  world.Annotate(kRollbackAnnotation, "1");
  EXPECT_EQ(world.Reconcile().front(), "RollBack 1");
  world.Settle();
  EXPECT_EQ(world.cluster.spec.model().path(), "/models/tiny");
  EXPECT_EQ(world.cluster.spec.worker_group_specs(0).replicas(), 2u);  // the number of pods is not undone
  EXPECT_EQ(world.cluster.status.revision(), 3u);
  EXPECT_EQ(world.cluster.status.state(), "Ready");
}

TEST(PlanTest, TheHistoryIsBounded) {
  json spec = Spec(1);
  spec["rollout"]["historyLimit"] = 2;
  World world = Settled(spec);
  for (int i = 0; i < 5; ++i) {
    world.SetSpec(WithModel(spec, "/models/" + std::to_string(i)));
    world.Reconcile();
  }
  // The revision that serves, the newest, and no more than one beside them.
  EXPECT_LE(world.cluster.status.history_size(), 3);
  EXPECT_EQ(world.cluster.status.history(0).number(), 1u);
  world.Settle();
  world.SetSpec(WithModel(spec, "/models/last"));
  world.Settle();
  EXPECT_EQ(world.cluster.status.history_size(), 2);
}

TEST(PlanTest, PausedPlansNothingButCertificates) {
  World world = Settled(Spec(1));
  world.Annotate(kPausedAnnotation, "true");
  world.SetSpec(WithModel(Spec(2), "/models/other"));
  EXPECT_THAT(world.Reconcile(), ElementsAre("Event RolloutStarted"));
  EXPECT_THAT(world.cluster.status.message(), HasSubstr("paused"));
  world.Tick(absl::Hours(17));
  EXPECT_THAT(world.Reconcile(), ElementsAre("IssueCertificates demo-cpu-r1-0 demo-head-r1-0 demo-router-r1-0"));
  world.Annotate(kPausedAnnotation, "");
  world.Settle();
  EXPECT_EQ(world.cluster.status.state(), "Ready");
  EXPECT_EQ(world.PodNames(PodRole::kWorker).size(), 2u);
}

TEST(PlanTest, ScalesToZeroWhenIdleAndBackWhenAsked) {
  json spec = Spec(1);
  spec["autoscaling"] = {{"scaleToZeroAfterSeconds", 60}};
  World world = Settled(spec);
  const ClusterPlan idle = world.Plan(world.Observe());
  EXPECT_LE(idle.look_again_in, absl::Seconds(60));
  world.Tick(absl::Seconds(61));
  EXPECT_THAT(world.Reconcile(), ElementsAre("SetDraining demo-cpu-r1-0", "Event Scaled"));
  EXPECT_THAT(world.Settle(), ElementsAre("DeletePod demo-cpu-r1-0", "SetDraining"));
  EXPECT_EQ(world.cluster.status.state(), "ScaledToZero");
  EXPECT_EQ(Condition(world, "Ready").status(), "True");
  world.queued["demo-router-r1-0"] = 1;
  world.Tick(absl::Seconds(1));
  EXPECT_THAT(world.Reconcile(), ElementsAre("CreatePod demo-cpu-r1-0", "Event Scaled"));
  world.queued.clear();
  EXPECT_THAT(world.Settle(), IsEmpty());
  EXPECT_EQ(world.cluster.status.state(), "Ready");
}

TEST(PlanTest, RenewsCertificatesAtTwoThirdsOfTheirTime) {
  World world = Settled(Spec(1));
  const absl::Duration left = world.Plan(world.Observe()).look_again_in;
  EXPECT_GT(left, absl::Hours(15));
  EXPECT_LE(left, absl::Hours(16));
  world.Tick(left);
  EXPECT_THAT(world.Reconcile(), ElementsAre("IssueCertificates demo-cpu-r1-0 demo-head-r1-0 demo-router-r1-0"));
  EXPECT_THAT(world.Reconcile(), IsEmpty());
}

TEST(PlanTest, IssuesAllAnewUnderAnotherAuthority) {
  World world = Settled(Spec(1));
  world.ca_is_current = false;
  EXPECT_THAT(world.Settle(), ElementsAre("IssueCertificates demo-cpu-r1-0 demo-head-r1-0 demo-router-r1-0"));
}

TEST(PlanTest, TakesAServiceBackThatAnotherChanged) {
  World world = Settled(Spec(2));
  world.services.at("demo")["spec"]["ports"][0]["targetPort"] = 1;
  world.disruption_budgets.at("demo-cpu")["spec"]["minAvailable"] = 0;
  for (const Step& step : world.Plan(world.Observe()).steps) EXPECT_EQ(step.uid, "uid-" + step.name);  // by force
  EXPECT_THAT(world.Settle(), ElementsAre("ApplyService demo", "ApplyDisruptionBudget demo-cpu"));
  world.services.at("demo")["spec"]["clusterIP"] = "10.0.0.1";  // the API server's
  EXPECT_THAT(world.Settle(), IsEmpty());
}

TEST(PlanTest, ABadSpecKeepsWhatRuns) {
  World world = Settled(Spec(2));
  json bad = Spec(2);
  bad["model"].erase("path");
  world.SetSpec(bad);
  EXPECT_THAT(world.Reconcile(), ElementsAre("Event InvalidSpec"));
  EXPECT_EQ(world.cluster.status.state(), "Invalid");
  EXPECT_THAT(world.cluster.status.message(), HasSubstr("spec.model.path"));
  world.KillPod("demo-cpu-r1-0");
  EXPECT_THAT(world.Settle(), ElementsAre("CreatePod demo-cpu-r1-0"));
  EXPECT_EQ(world.ServingGroups().size(), 2u);
  World from_the_start(bad);
  EXPECT_THAT(from_the_start.Reconcile(), ElementsAre("Event InvalidSpec"));
  EXPECT_EQ(from_the_start.cluster.status.state(), "Invalid");
}

TEST(PlanTest, DoesNothingForAClusterThatIsDeleted) {
  World world = Settled(Spec(1));
  world.cluster.deleting = true;
  world.pods.clear();
  EXPECT_THAT(world.Reconcile(), IsEmpty());
}

TEST(PlanTest, AWorkerGroupThatIsNoLongerWantedGoesWhenTheOthersServe) {
  World world = Settled(Spec(1));
  json spec = Spec(1);
  spec["workerGroupSpecs"][0]["groupName"] = "other";
  world.SetSpec(spec);
  const std::vector<std::string> first = world.Reconcile();
  EXPECT_THAT(first, Contains("CreatePod demo-other-r2-0"));
  EXPECT_THAT(first, Not(Contains("SetDraining demo-cpu-r1-0")));
  EXPECT_THAT(world.Settle(), ElementsAre("SetDraining demo-cpu-r1-0", "DeletePod demo-cpu-r1-0",
                                          "Event RolloutComplete", "SetDraining"));
  EXPECT_EQ(world.cluster.status.state(), "Ready");
}

TEST(PlanTest, WithoutAHeadNothingThatServesIsTouched) {
  World world = Settled(Spec(2));
  world.never_starts = [](const WorldPod& pod) { return pod.seen.role == PodRole::kHead; };
  world.KillPod("demo-head-r1-0");
  world.SetSpec(WithModel(Spec(1), "/models/other"));
  const std::vector<std::string> steps = world.Settle();
  EXPECT_TRUE(std::none_of(steps.begin(), steps.end(), [](const std::string& step) {
    return absl::StartsWith(step, "DeletePod") || absl::StartsWith(step, "SetDraining");
  })) << testing::PrintToString(steps);
  EXPECT_EQ(world.ServingGroups().size(), 2u);
}

}  // namespace
}  // namespace slmmesh
