#include "cli/process_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proto/manifest.h"

namespace slmmesh {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

v1::InferenceCluster Cluster(const std::string& extra_spec = "") {
  auto cluster = ParseManifest(R"(apiVersion: slmmesh.io/v1alpha1
kind: InferenceCluster
metadata: {name: demo}
spec:
  model: {servedName: tiny, path: models/tiny, maxModelLen: 512}
  tensorParallelSize: 2
  memoryUtilization: 0.4
  samplingDefaults: {temperature: 0.5}
  routerSpec: {replicas: 2, service: {port: 8123}}
  workerGroupSpecs: [{groupName: cpu, replicas: 4}]
)" + extra_spec,
                               "m.yaml");
  EXPECT_TRUE(cluster.ok()) << cluster.status();
  return *cluster;
}

std::vector<ProcessSpec> Plan(const v1::InferenceCluster& cluster) {
  PlanContext context;
  context.manifest_folder = "/etc/mesh";
  context.run_folder = "/run/demo";
  context.cores = 8;
  auto plan = PlanProcesses(cluster, context);
  EXPECT_TRUE(plan.ok()) << plan.status();
  return *plan;
}

TEST(ProcessPlan, HeadThenWorkersThenRouters) {
  std::vector<std::string> names;
  for (const auto& process : Plan(Cluster())) names.push_back(process.name);
  EXPECT_THAT(names, ElementsAre("head", "cpu-0", "cpu-1", "cpu-2", "cpu-3", "router-0", "router-1"));
}

TEST(ProcessPlan, AWorkerGetsItsShareOfTheMachine) {
  const auto worker = Plan(Cluster())[2];
  EXPECT_EQ(worker.args[0], "mesh-worker");
  for (const char* knob : {"--model=/etc/mesh/models/tiny", "--worker-id=cpu-1", "--worker-group=cpu", "--threads=2",
                           "--max-model-len=512", "--tensor-parallel-size=2", "--memory-utilization=0.2",
                           "--head={head}", "--tls-dir=/run/demo/tls/cpu-1"}) {
    EXPECT_THAT(worker.args, Contains(std::string(knob)));
  }
}

TEST(ProcessPlan, OnlyTheFirstRouterTakesThePort) {
  const auto plan = Plan(Cluster());
  EXPECT_THAT(plan[5].args, Contains("--listen=127.0.0.1:8123"));
  EXPECT_THAT(plan[5].args, Contains("--default-temperature=0.5"));
  EXPECT_THAT(plan[6].args, Contains("--listen=127.0.0.1:0"));
  EXPECT_THAT(plan[5].args, Not(Contains(HasSubstr("api-keys"))));
}

TEST(ProcessPlan, WhatThisVersionLacksIsRefusedByName) {
  PlanContext context;
  auto cluster = Cluster();
  cluster.mutable_spec()->mutable_model()->set_weights("fp8");
  EXPECT_THAT(std::string(PlanProcesses(cluster, context).status().message()),
              HasSubstr("spec.model.weights: \"fp8\""));
}

}  // namespace
}  // namespace slmmesh
