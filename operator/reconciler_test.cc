#include "operator/reconciler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "operator/names.h"
#include "operator/objects.h"
#include "operator/testing/fake_client.h"

namespace slmmesh {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class FakeEvents : public kube::EventRecorder {
 public:
  void Record(const kube::EventTarget&, kube::EventType, const std::string& reason,
              const std::string& message) override {
    events.push_back(reason + ": " + message);
  }
  std::vector<std::string> events;
};

json Cluster() {
  return json::parse(R"({"metadata": {"name": "demo", "namespace": "team", "uid": "c1", "generation": 1},
    "spec": {"model": {"servedName": "m", "path": "/m"}, "workerGroupSpecs": [{"groupName": "cpu", "replicas": 1}]}})");
}

class ReconcilerTest : public testing::Test {
 protected:
  ReconcilerTest()
      : cache_([this](const std::string&) { ++woken_; }),
        metrics_(&registry_),
        certificates_(*ClusterCertificates::Create(&client_, *MasterKey::FromBytes(std::string(32, 'k'), absl::Now()),
                                                   absl::Hours(24), &clock_)),
        tables_({[](const std::string&) {}}) {
    cache_.Upsert(CachedKind::kCluster, client_.Put(kube::resources::kInferenceClusters, Cluster()));
    woken_ = 0;
    Plan([this](const Observed& observed, const OperatorSettings& settings, absl::Time now) {
      ++plans_;
      return PlanCluster(observed, settings, now);
    });
  }

  void Plan(const Reconciler::Planner& planner) {
    reconciler_ = std::make_unique<Reconciler>(
        Reconciler::Options{{&client_, &cache_, certificates_, &tables_, &events_, &metrics_},
                            {},
                            planner,
                            &clock_,
                            absl::Seconds(15),
                            [this] { return is_burst_; }});
  }
  // Steps in the first pass; nothing afterwards.
  void PlanOnce(const std::vector<Step>& steps) {
    Plan([this, steps](const Observed& observed, const OperatorSettings&, absl::Time) {
      ClusterPlan plan;
      if (plans_++ == 0) plan.steps = steps;
      plan.status = observed.cluster.status;
      return plan;
    });
  }
  Step CreatePod(const std::string& name) {
    Step step{StepKind::kCreatePod};
    step.object = {{"metadata", ObjectMetadata(cache_.Observe("team/demo")->cluster, name)},
                   {"status", {{"phase", "Pending"}}}};
    step.object["metadata"]["labels"][kRoleLabel] = "worker";
    return step;
  }
  absl::StatusOr<absl::Duration> Pass() { return reconciler_->Reconcile("team/demo"); }
  std::vector<std::string> PodNames() {
    std::vector<std::string> names;
    const Observed observed = *cache_.Observe("team/demo");
    for (const ObservedPod& pod : observed.pods) names.push_back(pod.name);
    return names;
  }

  FakeClient client_;
  FakeClock clock_{absl::Now()};
  ClusterCache cache_;
  Metrics registry_;
  OperatorMetrics metrics_;
  std::shared_ptr<ClusterCertificates> certificates_;
  TableWatcher tables_;
  FakeEvents events_;
  std::unique_ptr<Reconciler> reconciler_;
  bool is_burst_ = false;
  int woken_ = 0;
  int plans_ = 0;
};

TEST_F(ReconcilerTest, ANewClusterTakesOnePassAndItsStatusCountsThePods) {
  const absl::StatusOr<absl::Duration> next = Pass();
  ASSERT_TRUE(next.ok()) << next.status();
  EXPECT_THAT(client_.TakeCalls(),
              ElementsAre("create secrets demo-tls", "apply services demo-head", "apply services demo",
                          "create pods demo-head-r1-0", "create pods demo-router-r1-0", "create pods demo-cpu-r1-0",
                          "patch inferenceclusters/status demo"));
  EXPECT_EQ((*client_.Find("inferenceclusters", "demo"))["status"]["workerGroups"][0]["pods"], 1);
  ASSERT_TRUE(Pass().ok());
  EXPECT_THAT(client_.TakeCalls(), IsEmpty());
  EXPECT_EQ(woken_, 0);
}

TEST_F(ReconcilerTest, TheEchoOfItsOwnWritesChangesNothing) {
  ASSERT_TRUE(Pass().ok());
  for (const char* pod : {"demo-head-r1-0", "demo-router-r1-0", "demo-cpu-r1-0"}) {
    cache_.Upsert(CachedKind::kPod, *client_.Find("pods", pod));
  }
  cache_.Upsert(CachedKind::kService, *client_.Find("services", "demo"));
  cache_.Upsert(CachedKind::kCluster, *client_.Find("inferenceclusters", "demo"));
  EXPECT_EQ(woken_, 0);
}

TEST_F(ReconcilerTest, AFailedStepEndsThePassAndTheNextGoesOnWhereItEnded) {
  client_.FailWhen([](const std::string& call) {
    return call == "create pods demo-router-r1-0" ? absl::UnavailableError("away") : absl::OkStatus();
  });
  EXPECT_EQ(Pass().status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(PodNames(), ElementsAre("demo-head-r1-0"));
  EXPECT_THAT(events_.events, IsEmpty());  // it will pass
  client_.FailWhen(nullptr);
  client_.TakeCalls();
  ASSERT_TRUE(Pass().ok());
  EXPECT_THAT(client_.TakeCalls(), ElementsAre("create pods demo-router-r1-0", "create pods demo-cpu-r1-0",
                                               "patch inferenceclusters/status demo"));
}

TEST_F(ReconcilerTest, WhatTheUserCanMendIsTold) {
  client_.FailWhen([](const std::string& call) {
    return call == "create pods demo-head-r1-0" ? absl::PermissionDeniedError("exceeded quota: pods")
                                                : absl::OkStatus();
  });
  EXPECT_FALSE(Pass().ok());
  EXPECT_EQ((*client_.Find("inferenceclusters", "demo"))["status"]["message"], "exceeded quota: pods");
  EXPECT_THAT(events_.events, ElementsAre("StepFailed: exceeded quota: pods"));
  client_.TakeCalls();
  EXPECT_FALSE(Pass().ok());
  EXPECT_THAT(client_.TakeCalls(), ElementsAre("create pods demo-head-r1-0"));  // the status says it already
}

TEST_F(ReconcilerTest, ATakenNameOfOursIsDoneAndOneOfAnothersIsNot) {
  const Step ours = CreatePod("demo-cpu-r1-0");
  client_.Put(kube::resources::kPods, ours.object);  // the cache does not know it
  PlanOnce({ours});
  ASSERT_TRUE(Pass().ok());
  EXPECT_THAT(PodNames(), ElementsAre("demo-cpu-r1-0"));
  plans_ = 0;
  client_.Put(kube::resources::kPods, {{"metadata", {{"name", "demo-cpu-r1-1"}, {"namespace", "team"}}}});
  PlanOnce({CreatePod("demo-cpu-r1-1")});
  const absl::StatusOr<absl::Duration> next = Pass();
  EXPECT_EQ(next.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(events_.events, ElementsAre(HasSubstr("demo-cpu-r1-1 belongs to something else")));
}

TEST_F(ReconcilerTest, AServiceOfAnothersIsNotTakenOver) {
  client_.Put(kube::resources::kServices, {{"metadata", {{"name", "demo"}, {"namespace", "team"}}}});
  client_.FailWhen([](const std::string& call) {
    return call == "apply services demo" ? absl::AbortedError("conflict with kubectl") : absl::OkStatus();
  });
  EXPECT_EQ(Pass().status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_FALSE((*client_.Find("services", "demo")).contains("spec"));
  EXPECT_THAT(events_.events, ElementsAre(HasSubstr("Service demo belongs to something else")));
}

TEST_F(ReconcilerTest, AServiceOfOursThatTheCacheLacksIsRepaired) {
  json service = BuildHeadService(cache_.Observe("team/demo")->cluster);
  service["spec"]["ports"] = json::array();
  client_.Put(kube::resources::kServices, service);
  client_.FailWhen([](const std::string& call) {
    return call == "apply services demo-head" ? absl::AbortedError("conflict with kubectl") : absl::OkStatus();
  });
  ASSERT_TRUE(Pass().ok());
  EXPECT_EQ((*client_.Find("services", "demo-head"))["spec"]["ports"].size(), 1u);
  EXPECT_THAT(events_.events, IsEmpty());
}

TEST_F(ReconcilerTest, ADisruptionBudgetOfAnothersIsSpared) {
  client_.Put(kube::resources::kPodDisruptionBudgets, {{"metadata", {{"name", "b"}, {"uid", "anothers"}}}});
  PlanOnce({{StepKind::kDeleteDisruptionBudget, "b", "ours"}});
  ASSERT_TRUE(Pass().ok());
  EXPECT_NE(client_.Find("poddisruptionbudgets", "b"), nullptr);
}

TEST_F(ReconcilerTest, InABurstPodsComeFirstAndTheStatusWithTheNextPass) {
  is_burst_ = true;
  EXPECT_EQ(*Pass(), absl::ZeroDuration());
  EXPECT_THAT(client_.TakeCalls(),
              ElementsAre("create secrets demo-tls", "apply services demo-head", "apply services demo",
                          "create pods demo-head-r1-0", "create pods demo-router-r1-0", "create pods demo-cpu-r1-0"));
  ASSERT_TRUE(Pass().ok());
  EXPECT_THAT(client_.TakeCalls(), ElementsAre("patch inferenceclusters/status demo"));
  EXPECT_EQ((*client_.Find("inferenceclusters", "demo"))["status"]["workerGroups"][0]["pods"], 1);
}

TEST_F(ReconcilerTest, InABurstNoEventIsLost) {
  is_burst_ = true;
  Step event{StepKind::kEvent};
  event.reason = "PodReplaced";
  PlanOnce({CreatePod("p"), event});
  ASSERT_TRUE(Pass().ok());
  EXPECT_THAT(events_.events, ElementsAre("PodReplaced: "));
}

TEST_F(ReconcilerTest, ManyPodsAreMadeTogether) {
  std::vector<Step> steps;
  for (int i = 0; i < 40; ++i) steps.push_back(CreatePod(absl::StrCat("p", i)));
  PlanOnce(steps);
  ASSERT_TRUE(Pass().ok());
  EXPECT_EQ(cache_.pods(), 40u);
}

TEST_F(ReconcilerTest, ADeletedPodIsTerminatingAtOnceAndAnotherOfThatNameIsSpared) {
  PlanOnce({CreatePod("p")});
  ASSERT_TRUE(Pass().ok());
  const std::string uid = cache_.Observe("team/demo")->pods[0].uid;
  plans_ = 0;
  Step other{StepKind::kDeletePod, "p", "another uid"};
  PlanOnce({other});
  ASSERT_TRUE(Pass().ok());
  EXPECT_NE(client_.Find("pods", "p"), nullptr);
  plans_ = 0;
  PlanOnce({{StepKind::kDeletePod, "p", uid}});
  ASSERT_TRUE(Pass().ok());
  EXPECT_EQ(client_.Find("pods", "p"), nullptr);
  EXPECT_TRUE(cache_.Observe("team/demo")->pods[0].terminating);
}

TEST_F(ReconcilerTest, RollBackReplacesTheSpecAndTakesTheAnnotationOffInOneCall) {
  json cluster = *client_.Find("inferenceclusters", "demo");
  cluster["metadata"]["annotations"] = {{kRollbackAnnotation, "1"}, {"mine", "x"}};
  cluster["spec"]["model"]["maxModelLen"] = 4096;
  cluster["metadata"]["generation"] = 2;
  cache_.Upsert(CachedKind::kCluster, client_.Put(kube::resources::kInferenceClusters, cluster));
  Step step{StepKind::kRollBack};
  step.object = Cluster()["spec"];
  PlanOnce({step});
  ASSERT_TRUE(Pass().ok());
  EXPECT_THAT(client_.TakeCalls(), ElementsAre("patch inferenceclusters demo"));
  const json& now = *client_.Find("inferenceclusters", "demo");
  EXPECT_EQ(now["spec"], Cluster()["spec"]);
  EXPECT_EQ(now["metadata"]["annotations"], (json{{"mine", "x"}}));
  EXPECT_THAT(cache_.Observe("team/demo")->cluster.annotations, IsEmpty());
}

TEST_F(ReconcilerTest, LoadsAloneAreWrittenNowAndThen) {
  double tokens = 1;
  Plan([&](const Observed& observed, const OperatorSettings&, absl::Time) {
    ClusterPlan plan;
    plan.status = observed.cluster.status;
    plan.status.set_state("Ready");
    plan.status.set_tokens_per_second(tokens);
    return plan;
  });
  ASSERT_TRUE(Pass().ok());
  client_.TakeCalls();
  tokens = 2;
  EXPECT_EQ(*Pass(), absl::Seconds(15));
  EXPECT_THAT(client_.TakeCalls(), IsEmpty());
  clock_.Advance(absl::Seconds(15));
  ASSERT_TRUE(Pass().ok());
  EXPECT_THAT(client_.TakeCalls(), ElementsAre("patch inferenceclusters/status demo"));
}

TEST_F(ReconcilerTest, AClusterThatIsGoneIsForgotten) {
  cache_.Remove(CachedKind::kCluster, *client_.Find("inferenceclusters", "demo"));
  EXPECT_EQ(*Pass(), absl::InfiniteDuration());
  EXPECT_THAT(client_.TakeCalls(), IsEmpty());
}

TEST_F(ReconcilerTest, StopsBetweenSteps) {
  reconciler_->RequestStop();
  EXPECT_EQ(Pass().status().code(), absl::StatusCode::kCancelled);
  EXPECT_THAT(client_.TakeCalls(), IsEmpty());
}

}  // namespace
}  // namespace slmmesh
