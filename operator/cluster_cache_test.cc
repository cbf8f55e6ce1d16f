#include "operator/cluster_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

namespace slmmesh {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::IsEmpty;

json Cluster(int version, int generation = 1) {
  json cluster = json::parse(R"({"metadata": {"name": "demo", "namespace": "team", "uid": "c1"},
    "spec": {"model": {"servedName": "m", "path": "/m"}, "workerGroupSpecs": [{"groupName": "cpu", "replicas": 1}]}})");
  cluster["metadata"]["resourceVersion"] = absl::StrCat(version);
  cluster["metadata"]["generation"] = generation;
  return cluster;
}

json Pod(const std::string& name, int version, const std::string& uid = "u1", const std::string& owner = "c1") {
  json pod = json::parse(R"({"metadata": {"namespace": "team", "labels": {"app.kubernetes.io/managed-by": "slm-mesh",
    "slmmesh.io/cluster": "demo", "slmmesh.io/role": "worker"}}, "status": {"phase": "Pending"}})");
  pod["metadata"]["name"] = name;
  pod["metadata"]["uid"] = uid;
  pod["metadata"]["resourceVersion"] = absl::StrCat(version);
  pod["metadata"]["ownerReferences"] = {{{"kind", "InferenceCluster"}, {"uid", owner}, {"controller", true}}};
  return pod;
}

class ClusterCacheTest : public testing::Test {
 protected:
  ClusterCacheTest() : cache_([this](const std::string& key) { woken_.push_back(key); }) {}

  std::vector<std::string> Woken() { return std::exchange(woken_, {}); }
  std::vector<std::string> PodNames() {
    std::vector<std::string> names;
    const Observed observed = *cache_.Observe("team/demo");
    for (const ObservedPod& pod : observed.pods) names.push_back(pod.name);
    return names;
  }
  void Start() {
    cache_.Upsert(CachedKind::kCluster, Cluster(1));
    Woken();
  }

  std::vector<std::string> woken_;
  ClusterCache cache_;
};

TEST_F(ClusterCacheTest, AnEventWakesItsClusterAloneAndOnlyIfPlanningSeesADifference) {
  cache_.Upsert(CachedKind::kCluster, Cluster(1));
  EXPECT_THAT(Woken(), ElementsAre("team/demo"));
  cache_.Upsert(CachedKind::kPod, Pod("a", 2));
  EXPECT_THAT(Woken(), ElementsAre("team/demo"));
  json touched = Pod("a", 3);
  touched["metadata"]["managedFields"] = "whatever";
  cache_.Upsert(CachedKind::kPod, touched);
  EXPECT_THAT(Woken(), IsEmpty());
  touched["metadata"]["resourceVersion"] = "4";
  touched["status"]["phase"] = "Running";
  cache_.Upsert(CachedKind::kPod, touched);
  EXPECT_THAT(Woken(), ElementsAre("team/demo"));
  EXPECT_EQ(cache_.pods(), 1u);
  EXPECT_EQ(cache_.clusters(), 1u);
}

TEST_F(ClusterCacheTest, OwnWritesAreSeenAtOnceAndTheirEchoWakesNobody) {
  Start();
  cache_.Wrote(CachedKind::kPod, Pod("a", 5));
  EXPECT_THAT(PodNames(), ElementsAre("a"));
  cache_.Upsert(CachedKind::kPod, Pod("a", 5));
  EXPECT_THAT(Woken(), IsEmpty());
}

TEST_F(ClusterCacheTest, ADeletionOfOursHoldsAgainstOlderEvents) {
  Start();
  cache_.Wrote(CachedKind::kPod, Pod("a", 5));
  cache_.DeletedPod("team/demo", "a", "u1");
  EXPECT_TRUE(cache_.Observe("team/demo")->pods[0].terminating);
  json older = Pod("a", 6);
  older["status"]["phase"] = "Running";
  cache_.Upsert(CachedKind::kPod, older);
  EXPECT_TRUE(cache_.Observe("team/demo")->pods[0].terminating);
  cache_.Upsert(CachedKind::kPod, Pod("a", 8, "u2"));  // another pod of that name
  EXPECT_FALSE(cache_.Observe("team/demo")->pods[0].terminating);
}

TEST_F(ClusterCacheTest, ALateAnswerDoesNotBringAPodBack) {
  Start();
  cache_.Upsert(CachedKind::kPod, Pod("a", 5));
  cache_.Remove(CachedKind::kPod, Pod("a", 6));
  cache_.Wrote(CachedKind::kPod, Pod("a", 5));
  EXPECT_THAT(PodNames(), IsEmpty());
  cache_.Wrote(CachedKind::kPod, Pod("a", 7, "u2"));
  EXPECT_THAT(PodNames(), ElementsAre("a"));
  cache_.Remove(CachedKind::kPod, Pod("a", 6));  // the old one's end, seen late
  EXPECT_THAT(PodNames(), ElementsAre("a"));
}

TEST_F(ClusterCacheTest, WhatANewListLacksIsGoneButNotWhatWeMadeMeanwhile) {
  Start();
  cache_.Upsert(CachedKind::kPod, Pod("a", 5));
  cache_.Upsert(CachedKind::kPod, Pod("b", 6, "u2"));
  Woken();
  cache_.BeginList(CachedKind::kPod);
  cache_.Upsert(CachedKind::kPod, Pod("b", 6, "u2"));
  cache_.Wrote(CachedKind::kPod, Pod("c", 9, "u3"));
  cache_.EndList(CachedKind::kPod);
  EXPECT_THAT(PodNames(), ElementsAre("b", "c"));
  EXPECT_THAT(Woken(), ElementsAre("team/demo"));
}

TEST_F(ClusterCacheTest, AListOfOneNamespaceLeavesTheOthersAlone) {
  cache_.BeginList(CachedKind::kCluster, "team");
  cache_.Upsert(CachedKind::kCluster, Cluster(1));
  cache_.BeginList(CachedKind::kCluster, "else");
  cache_.EndList(CachedKind::kCluster, "else");
  cache_.EndList(CachedKind::kCluster, "team");
  EXPECT_THAT(cache_.Keys(), ElementsAre("team/demo"));
  cache_.BeginList(CachedKind::kCluster, "team");
  cache_.EndList(CachedKind::kCluster, "team");
  EXPECT_THAT(cache_.Keys(), IsEmpty());
  EXPECT_FALSE(cache_.Observe("team/demo").has_value());
}

TEST_F(ClusterCacheTest, PodsOfAnEarlierClusterOfThatNameAreNotOurs) {
  Start();
  cache_.Upsert(CachedKind::kPod, Pod("a", 5, "u1", "c0"));
  EXPECT_THAT(PodNames(), IsEmpty());
}

TEST_F(ClusterCacheTest, OwnStatusIsNoNews) {
  Start();
  json written = Cluster(9);
  written["status"] = {{"state", "Creating"}};
  cache_.Wrote(CachedKind::kCluster, written);
  cache_.Upsert(CachedKind::kCluster, written);
  EXPECT_THAT(Woken(), IsEmpty());
  EXPECT_EQ(cache_.Observe("team/demo")->cluster.status.state(), "Creating");
  written["status"]["state"] = "Nonsense";
  written["metadata"]["resourceVersion"] = "10";
  cache_.Upsert(CachedKind::kCluster, written);
  EXPECT_THAT(Woken(), ElementsAre("team/demo"));
}

}  // namespace
}  // namespace slmmesh
