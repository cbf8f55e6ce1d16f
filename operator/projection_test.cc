#include "operator/projection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "nlohmann/json.hpp"
#include "operator/api_json.h"
#include "operator/packed_cluster.h"
#include "operator/pod_trouble.h"

namespace slmmesh {
namespace {

using nlohmann::json;
using testing::HasSubstr;

json Pod(const json& status = json::object()) {
  json pod = json::parse(R"({"metadata": {
      "name": "demo-cpu-r3-1", "namespace": "team", "uid": "u1", "resourceVersion": "77",
      "creationTimestamp": "2026-01-02T03:04:05Z",
      "labels": {"app.kubernetes.io/managed-by": "slm-mesh", "slmmesh.io/cluster": "demo", "slmmesh.io/role": "worker",
                 "slmmesh.io/worker-group": "cpu", "slmmesh.io/revision": "3", "slmmesh.io/slot": "1",
                 "slmmesh.io/hash": "abc"},
      "ownerReferences": [{"kind": "Other", "uid": "o"}, {"kind": "InferenceCluster", "uid": "c1", "controller": true}]},
    "spec": {"nodeName": "n1"}})");
  pod["status"] = status;
  return pod;
}

json Waiting(const std::string& reason, const std::string& message = "") {
  return {{"phase", "Pending"},
          {"containerStatuses",
           {{{"name", "worker"},
             {"image", "registry/worker:9"},
             {"state", {{"waiting", {{"reason", reason}, {"message", message}}}}}}}}};
}

TEST(ProjectionTest, KeepsWhatPlanningReadsOfAPod) {
  const json pod = Pod({{"phase", "Running"},
                        {"podIP", "10.0.0.9"},
                        {"conditions", {{{"type", "Ready"}, {"status", "True"}}}},
                        {"containerStatuses", {{{"restartCount", 2}}, {{"restartCount", 1}}}}});
  const std::optional<ObservedPod> seen = ProjectPod(pod);
  ASSERT_TRUE(seen.has_value());
  EXPECT_EQ(seen->name, "demo-cpu-r3-1");
  EXPECT_EQ(seen->role, PodRole::kWorker);
  EXPECT_EQ(seen->worker_group, "cpu");
  EXPECT_EQ(seen->revision, 3u);
  EXPECT_EQ(seen->slot, 1u);
  EXPECT_EQ(seen->hash, "abc");
  EXPECT_EQ(seen->phase, PodPhase::kRunning);
  EXPECT_TRUE(seen->ready);
  EXPECT_TRUE(seen->scheduled);
  EXPECT_FALSE(seen->terminating);
  EXPECT_EQ(seen->restarts, 3u);
  EXPECT_EQ(seen->ip, "");  // of heads alone
  EXPECT_EQ(seen->trouble, "");
  EXPECT_EQ(OwningClusterKey(pod), "team/demo");
  EXPECT_EQ(ControllerUid(pod), "c1");
  EXPECT_EQ(ResourceVersion(pod), 77u);
}

TEST(ProjectionTest, AnythingButAPodOfOursIsNone) {
  for (const json& other :
       {json::object(), json("text"), json::parse(R"({"metadata": {"labels": {"slmmesh.io/role": 7}}})"),
        json::parse(R"({"metadata": [], "status": "x", "spec": 1})")}) {
    EXPECT_FALSE(ProjectPod(other).has_value());
    EXPECT_EQ(OwningClusterKey(other), "");
    EXPECT_EQ(ControllerUid(other), "");
    EXPECT_EQ(PodTrouble(other), "");
    EXPECT_EQ(ProjectCluster(other).spec_status.code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST(PodTroubleTest, ImagesThatCannotBePulled) {
  const std::string long_message =
      "Back-off pulling image \"registry/worker:9\": ErrImagePull: rpc error: code = NotFound desc = failed to pull "
      "and "
      "unpack image: failed to resolve reference: registry/worker:9: not found";
  EXPECT_EQ(PodTrouble(Pod(Waiting("ErrImagePull", "rpc error: ... not found"))),
            "image registry/worker:9 cannot be pulled: not found");
  EXPECT_EQ(PodTrouble(Pod(Waiting("ImagePullBackOff", long_message))),
            "image registry/worker:9 cannot be pulled: not found");
  EXPECT_EQ(PodTrouble(Pod(Waiting("ErrImagePull", "dial tcp: lookup registry: no such host"))),
            "image registry/worker:9 cannot be pulled: the registry's name cannot be resolved");
  EXPECT_EQ(PodTrouble(Pod(Waiting("ErrImageNeverPull"))),
            "image registry/worker:9 cannot be pulled: it is not on the node, and imagePullPolicy is Never");
  EXPECT_EQ(PodTrouble(Pod(Waiting("InvalidImageName"))), "image registry/worker:9 is not a valid name");
}

TEST(PodTroubleTest, ContainersThatEnd) {
  json status = Waiting("CrashLoopBackOff", "back-off 10s restarting failed container");
  status["containerStatuses"][0]["lastState"]["terminated"] = {
      {"exitCode", 2}, {"reason", "Error"}, {"message", "model: /models/m: no such folder\n"}};
  EXPECT_EQ(PodTrouble(Pod(status)), "container worker ended with exit code 2: model: /models/m: no such folder");
  // The end of its log: the last line alone, unless the program was cut off in the middle of logging.
  status["containerStatuses"][0]["lastState"]["terminated"]["message"] =
      "{\"event\": \"worker.loading\"}\nmesh-worker: model: no such folder\n";
  EXPECT_EQ(PodTrouble(Pod(status)), "container worker ended with exit code 2: mesh-worker: model: no such folder");
  status["containerStatuses"][0]["lastState"]["terminated"]["message"] = "{\"event\": \"worker.loading\"}\n";
  EXPECT_EQ(PodTrouble(Pod(status)), "container worker ended with exit code 2");
  status["containerStatuses"][0]["lastState"]["terminated"] = {{"exitCode", 137}, {"reason", "OOMKilled"}};
  EXPECT_EQ(PodTrouble(Pod(status)), "container worker needs more memory than its limit (OOMKilled)");
  EXPECT_EQ(PodTrouble(Pod(Waiting("ContainerCreating"))), "");
  EXPECT_EQ(PodTrouble(Pod(Waiting("CreateContainerConfigError", "secret \"x\" not found"))),
            "container worker cannot start (CreateContainerConfigError): secret \"x\" not found");
}

TEST(PodTroubleTest, SchedulersReasonInPlainWords) {
  json pod =
      Pod({{"phase", "Pending"},
           {"conditions",
            {{{"type", "PodScheduled"},
              {"status", "False"},
              {"reason", "Unschedulable"},
              {"message",
               "0/3 nodes are available: 1 Insufficient memory, 1 node(s) didn't match Pod's node "
               "affinity/selector, 1 Insufficient nvidia.com/gpu. preemption: 0/3 nodes are available: none."}}}}});
  pod["spec"] = json::object();
  EXPECT_EQ(PodTrouble(pod),
            "no node can take it: 1 without enough memory, 1 not matching its node selector, 1 without enough "
            "nvidia.com/gpu");
}

TEST(PodTroubleTest, FailedPodsAndLongMessages) {
  EXPECT_EQ(PodTrouble(Pod({{"phase", "Failed"}, {"reason", "Evicted"}, {"message", "The node was low on memory."}})),
            "evicted: The node was low on memory.");
  EXPECT_EQ(PodTrouble(Pod({{"phase", "Failed"}, {"reason", "NodeLost"}})), "it failed: NodeLost");
  std::string umlauts;
  for (int i = 0; i < 400; ++i) umlauts += "\u00fc";
  const std::string trouble = PodTrouble(Pod(Waiting("RunContainerError", umlauts)));
  EXPECT_LE(trouble.size(), 300u);
  EXPECT_NO_THROW(json(trouble).dump());  // no half character
}

json Cluster() {
  return json::parse(R"({"metadata": {"name": "demo", "namespace": "team", "uid": "c1", "generation": 4,
      "annotations": {"slmmesh.io/paused": "true", "other": "x"}},
    "spec": {"model": {"servedName": "m", "path": "/m"}, "workerGroupSpecs": [{"groupName": "cpu", "replicas": 1,
      "template": {"spec": {"containers": [{"name": "worker", "env": [{"name": "A", "value": "1"}]}]}}}]},
    "status": {"revision": 2, "state": "Ready", "unheardOf": 1}})");
}

TEST(ProjectionTest, AClusterGetsDefaultsAndKeepsWhatWasApplied) {
  const ObservedCluster seen = ProjectCluster(Cluster());
  EXPECT_TRUE(seen.spec_status.ok()) << seen.spec_status;
  EXPECT_EQ(seen.generation, 4u);
  EXPECT_EQ(seen.annotations, (std::vector<std::pair<std::string, std::string>>{{"slmmesh.io/paused", "true"}}));
  EXPECT_EQ(seen.spec.tensor_parallel_size(), 1u);
  EXPECT_EQ(JsonFromStruct(seen.raw_spec), Cluster()["spec"]);
  EXPECT_EQ(JsonFromStruct(seen.spec.worker_group_specs(0).template_()),
            Cluster()["spec"]["workerGroupSpecs"][0]["template"]);
  EXPECT_EQ(seen.status.revision(), 2u);
  EXPECT_EQ(seen.status.state(), "Ready");
}

TEST(ProjectionTest, ASpecThatCannotBeServedSaysWhy) {
  json cluster = Cluster();
  cluster["spec"]["tensorParallelSize"] = 3;
  const ObservedCluster seen = ProjectCluster(cluster);
  EXPECT_THAT(std::string(seen.spec_status.message()), HasSubstr("spec.tensorParallelSize: 3 is not a degree"));
  EXPECT_EQ(std::string(seen.spec_status.message()).find("spec:1:"), std::string::npos);
}

TEST(PackedClusterTest, UnpacksToWhatItWas) {
  const ObservedCluster seen = ProjectCluster(Cluster());
  PackedCluster packed(seen);
  const ObservedCluster again = packed.Unpack();
  EXPECT_EQ(again.spec.DebugString(), seen.spec.DebugString());
  EXPECT_EQ(JsonFromStruct(again.raw_spec), JsonFromStruct(seen.raw_spec));
  EXPECT_EQ(again.status.DebugString(), seen.status.DebugString());
  EXPECT_FALSE(packed.UpdateWithoutSpec(ProjectClusterWithoutSpec(Cluster())));
  json changed = Cluster();
  changed["status"]["revision"] = 3;
  EXPECT_TRUE(packed.UpdateWithoutSpec(ProjectClusterWithoutSpec(changed)));
  EXPECT_EQ(packed.Unpack().status.revision(), 3u);
}

TEST(ApiJsonTest, MergePatchTurnsOneIntoTheOther) {
  const json from = {{"a", 1}, {"b", {{"x", 1}, {"y", 2}}}, {"list", {1, 2}}};
  const json to = {{"b", {{"y", 3}}}, {"list", {1}}, {"new", "n"}};
  json patched = from;
  patched.merge_patch(MergePatchBetween(from, to));
  EXPECT_EQ(patched, to);
  EXPECT_EQ(MergePatchBetween(to, to), json::object());
}

TEST(ApiJsonTest, WholeNumbersStayWhole) {
  const json object = {{"port", 8080}, {"share", 0.5}, {"big", 1000000}};
  EXPECT_EQ(JsonFromStruct(StructFromJson(object)).dump(), object.dump());
}

}  // namespace
}  // namespace slmmesh
