#include "proto/program_knobs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proto/manifest.h"

namespace slmmesh {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

v1::InferenceCluster Cluster(const std::string& extra_spec = "", const std::string& group = "replicas: 2") {
  auto cluster = ParseManifest(R"(apiVersion: slmmesh.io/v1alpha1
kind: InferenceCluster
metadata: {name: demo}
spec:
  model: {servedName: tiny, path: /models/tiny}
  tensorParallelSize: 2
  workerGroupSpecs: [{groupName: cpu, )" +
                                   group + "}]\n" + extra_spec,
                               "m.yaml");
  EXPECT_TRUE(cluster.ok()) << cluster.status();
  return *std::move(cluster);
}

std::vector<std::string> Worker(const v1::InferenceCluster& cluster) {
  return WorkerKnobs(cluster, cluster.spec().worker_group_specs(0));
}

TEST(ProgramKnobs, OfTheLeastManifest) {
  EXPECT_THAT(HeadKnobs(Cluster()), ElementsAre("--cluster=demo"));
  EXPECT_THAT(Worker(Cluster()),
              ElementsAre("--cluster=demo", "--worker-group=cpu", "--model=/models/tiny", "--served-model-name=tiny",
                          "--weights=auto", "--kv-cache=auto", "--tensor-parallel-size=2", "--memory-utilization=0.9",
                          "--block-size=16", "--max-num-seqs=64", "--max-num-batched-tokens=512",
                          "--enable-prefix-caching=true", "--drain-seconds=60"));
  EXPECT_THAT(RouterKnobs(Cluster()), ElementsAre("--cluster=demo", "--served-model-name=tiny", "--drain-seconds=60"));
}

TEST(ProgramKnobs, WhatTheManifestSaysIsPassedOn) {
  auto cluster = Cluster(R"(
  memoryUtilization: 0.5
  engine: {blockSize: 32, maxNumSeqs: 8, maxNumBatchedTokens: 128, enablePrefixCaching: false, threads: 3}
  rollout: {drainSeconds: 7}
  samplingDefaults: {temperature: 0.5, topP: 0.75, topK: 4, minP: 0.25, repetitionPenalty: 1.5, maxTokens: 9}
  routerSpec: {apiKeysFile: /k, tlsCertFile: /c, tlsKeyFile: /p}
)");
  cluster.mutable_spec()->mutable_model()->set_max_model_len(512);
  cluster.mutable_spec()->mutable_model()->set_sha256("abc");
  const auto worker = Worker(cluster);
  for (const char* knob :
       {"--sha256=abc", "--max-model-len=512", "--memory-utilization=0.5", "--block-size=32", "--max-num-seqs=8",
        "--max-num-batched-tokens=128", "--enable-prefix-caching=false", "--threads=3", "--drain-seconds=7"}) {
    EXPECT_THAT(worker, Contains(std::string(knob)));
  }
  EXPECT_THAT(RouterKnobs(cluster),
              ElementsAre("--cluster=demo", "--served-model-name=tiny", "--api-keys-file=/k", "--tls-cert-file=/c",
                          "--tls-key-file=/p", "--default-temperature=0.5", "--default-top-p=0.75", "--default-top-k=4",
                          "--default-min-p=0.25", "--default-repetition-penalty=1.5", "--default-max-tokens=9",
                          "--drain-seconds=7"));
}

TEST(ProgramKnobs, RoutersOfAClusterThatMayHaveNoGroupWaitLonger) {
  const std::string wait = "--wait-for-group-ms=300000";
  EXPECT_THAT(RouterKnobs(Cluster("", "replicas: 2, minReplicas: 0")), Contains(wait));
  EXPECT_THAT(RouterKnobs(Cluster("", "replicas: 2, minReplicas: 0}, {groupName: more")), Not(Contains(wait)));
}

TEST(ProgramKnobs, SpeculationReachesTheWorkers) {
  const auto knobs = [](const std::string& speculative) {
    const auto cluster = Cluster(speculative);
    return WorkerKnobs(cluster, cluster.spec().worker_group_specs(0));
  };
  for (const char* none : {"", "  speculative: {}\n"}) EXPECT_THAT(knobs(none), Not(Contains(HasSubstr("specul"))));
  EXPECT_THAT(knobs("  speculative: {method: ngram}\n"),
              AllOf(Contains("--speculative-method=ngram"), Contains("--num-speculative-tokens=5"),
                    Contains("--speculative-rule=coupled"), Not(Contains(HasSubstr("speculative-model")))));
  EXPECT_THAT(knobs("  speculative: {method: self-quantized}\n"), Not(Contains(HasSubstr("speculative-model"))));
  EXPECT_THAT(knobs("  speculative: {method: self-quantized, model: {path: /q}}\n"),
              Contains("--speculative-model=/q"));
  EXPECT_THAT(knobs("  speculative: {method: draft, model: {path: /d}, numSpeculativeTokens: 3, rule: rejection}\n"),
              AllOf(Contains("--speculative-method=draft"), Contains("--speculative-model=/d"),
                    Contains("--num-speculative-tokens=3"), Contains("--speculative-rule=rejection")));
}

TEST(ProgramKnobs, WhatThisVersionLacksIsRefusedByName) {
  EXPECT_TRUE(CheckServedByThisVersion(Cluster().spec()).ok());
  const auto refusal = [](const v1::InferenceCluster& cluster) {
    const absl::Status status = CheckServedByThisVersion(cluster.spec());
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_THAT(refusal(Cluster("", "accelerator: nvidia")), HasSubstr("spec.workerGroupSpecs[0].accelerator"));
  auto cluster = Cluster();
  cluster.mutable_spec()->mutable_model()->set_weights("fp8");
  EXPECT_THAT(refusal(cluster), HasSubstr("spec.model.weights: \"fp8\" is not served by this version; write auto"));
  cluster = Cluster();
  cluster.mutable_spec()->mutable_model()->set_kv_cache("fp8");
  EXPECT_THAT(refusal(cluster), HasSubstr("spec.model.kvCache: \"fp8\""));
}

}  // namespace
}  // namespace slmmesh
