#include "operator/adopt.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proto/manifest.h"

namespace slmmesh {
namespace {

using nlohmann::json;
using testing::HasSubstr;

json RayCluster() {
  return json::parse(R"({"apiVersion": "ray.io/v1", "kind": "RayCluster",
    "metadata": {"name": "llm", "namespace": "team", "uid": "r1", "generation": 3, "labels": {"slmmesh.io/adopt": "true"},
      "annotations": {"slmmesh.io/model-path": "/models/tiny"}},
    "spec": {"rayVersion": "2.9.0",
      "headGroupSpec": {"rayStartParams": {}, "template": {"spec": {"containers": [{"name": "ray-head",
        "image": "vllm/vllm-openai", "ports": [{"containerPort": 6379, "name": "gcs"}]}]}}},
      "workerGroupSpecs": [{"groupName": "gpu", "replicas": 4, "minReplicas": 1, "maxReplicas": 8, "rayStartParams": {},
        "template": {"spec": {"containers": [{"name": "ray-worker", "image": "vllm/vllm-openai",
          "resources": {"limits": {"nvidia.com/gpu": 1}}}]}}}]}})");
}

TEST(AdoptTest, ConvertsToAClusterOfTheSameNameThatSaysWhereItIsFrom) {
  const absl::StatusOr<Adoption> adoption = ConvertRayCluster(RayCluster());
  ASSERT_TRUE(adoption.ok()) << adoption.status();
  EXPECT_EQ(adoption->missing, "");
  const json& cluster = adoption->cluster;
  EXPECT_EQ(cluster["metadata"]["name"], "llm");
  EXPECT_EQ(cluster["metadata"]["namespace"], "team");
  EXPECT_EQ(cluster["metadata"]["annotations"][kAdoptedFromAnnotation], "r1/3");
  EXPECT_EQ(cluster["spec"]["model"]["path"], "/models/tiny");
  EXPECT_EQ(cluster["spec"]["workerGroupSpecs"][0]["replicas"], 4);
  EXPECT_FALSE(adoption->notes.empty());
}

TEST(AdoptTest, SaysWhatIsMissing) {
  json ray_cluster = RayCluster();
  ray_cluster["metadata"].erase("annotations");
  const absl::StatusOr<Adoption> adoption = ConvertRayCluster(ray_cluster);
  ASSERT_TRUE(adoption.ok()) << adoption.status();
  EXPECT_TRUE(adoption->cluster.is_null());
  EXPECT_THAT(adoption->missing, HasSubstr("slmmesh.io/model-path"));
}

TEST(AdoptTest, RefusesWhatIsNoRayCluster) {
  EXPECT_FALSE(ConvertRayCluster(json::object()).ok());
  json ray_cluster = RayCluster();
  ray_cluster["metadata"]["annotations"]["slmmesh.io/tensor-parallel-size"] = "two";
  EXPECT_THAT(std::string(ConvertRayCluster(ray_cluster).status().message()), HasSubstr("write 1, 2, 4 or 8"));
}

}  // namespace
}  // namespace slmmesh
