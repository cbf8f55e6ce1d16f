#include "proto/manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <iostream>

#include "absl/strings/str_replace.h"
#include "common/files.h"
#include "tests/fuzz/mutator.h"

namespace slmmesh {
namespace {

using ::testing::HasSubstr;

constexpr char kGood[] = R"(apiVersion: slmmesh.io/v1alpha1
kind: InferenceCluster
metadata: {name: demo}
spec:
  model:
    servedName: tiny
    path: /models/tiny
  tensorParallelSize: 2
  gpuMemoryUtilization: 0.5
  workerGroupSpecs:
  - groupName: cpu
    replicas: 4
    maxReplicas: 8
    template: {spec: {containers: [{name: worker, image: "1.10", tty: true, n: 3}]}}
)";

TEST(Manifest, FillsDefaultsAndReadsAliases) {
  const auto cluster = ParseManifest(kGood, "m.yaml");
  ASSERT_TRUE(cluster.ok()) << cluster.status();
  const auto& spec = cluster->spec();
  EXPECT_EQ(spec.memory_utilization(), 0.5);
  EXPECT_EQ(spec.model().weights(), "auto");
  EXPECT_EQ(spec.engine().block_size(), 16u);
  EXPECT_EQ(spec.router_spec().service().port(), 8080u);
  EXPECT_EQ(spec.worker_group_specs(0).min_replicas(), 2u);
  const auto& pod = spec.worker_group_specs(0).template_().fields().at("spec").struct_value();
  const auto& container = pod.fields().at("containers").list_value().values(0).struct_value().fields();
  EXPECT_EQ(container.at("image").string_value(), "1.10");
  EXPECT_TRUE(container.at("tty").bool_value());
  EXPECT_EQ(container.at("n").number_value(), 3);
}

TEST(Manifest, TheExamplesParse) {
  for (const char* name : {"inferencecluster.yaml", "local.yaml"}) {
    const auto cluster = LoadManifest(std::string(MESH_SOURCE_DIR "/deploy/examples/") + name);
    EXPECT_TRUE(cluster.ok()) << cluster.status();
  }
}

struct Bad {
  const char* from;
  const char* to;
  const char* error;
};

TEST(Manifest, ErrorsNameFileLineFieldValueAndFix) {
  const Bad cases[] = {
      {"tensorParallelSize: 2", "tensorParallelSize: 3",
       "m.yaml:8: spec.tensorParallelSize: 3 is not a degree; write 1, 2"},
      {"tensorParallelSize: 2", "tensorParallelSize: two", "m.yaml:8: spec.tensorParallelSize: \"two\" is not a whole"},
      {"tensorParallelSize", "tensorParalelSize",
       "m.yaml:8: spec.tensorParalelSize: unknown field; did you mean tensorP"},
      {"gpuMemoryUtilization: 0.5", "memoryUtilization: 1.5", "m.yaml:9: spec.memoryUtilization: 1.5 is out of range"},
      {"  model:", "  engine: {maxNumSeqs: 300, maxNumBatchedTokens: 200}\n  model:",
       "m.yaml:5: spec.engine.maxNumBatchedTokens: 200 is below maxNumSeqs (300)"},
      {"replicas: 4", "replicas: 3", "m.yaml:12: spec.workerGroupSpecs[0].replicas: 3 pods do not make whole groups"},
      {"maxReplicas: 8", "maxReplicas: 2", "m.yaml:12: spec.workerGroupSpecs[0].replicas: 4 is not between"},
      {"groupName: cpu", "groupName: C_PU", "m.yaml:11: spec.workerGroupSpecs[0].groupName: \"C_PU\" is not a name"},
      {"    path: /models/tiny\n", "", "m.yaml:5: spec.model.path: missing; write a Hugging Face folder"},
      {"path: /models/tiny", "path: [a]", "m.yaml:7: spec.model.path: a single value belongs here"},
      {"kind: InferenceCluster", "kind: RayCluster", "m.yaml:2: kind: \"RayCluster\" is not known"},
      {"kind: InferenceCluster", "kind: InferenceCluster\nkind: X", "m.yaml:3: kind: written twice"},
      {"spec:", "spec: [", "m.yaml:"},
      {"  model:", "  workerGroupSpecs: 3\n  model:", "spec.workerGroupSpecs: a list (- item) belongs here"},
  };
  for (const Bad& bad : cases) {
    const auto cluster = ParseManifest(absl::StrReplaceAll(kGood, {{bad.from, bad.to}}), "m.yaml");
    ASSERT_FALSE(cluster.ok()) << bad.to;
    EXPECT_THAT(std::string(cluster.status().message()), HasSubstr(bad.error));
  }
}

TEST(Manifest, AliasBombsAreBounded) {
  std::string bomb =
      "apiVersion: slmmesh.io/v1alpha1\nkind: InferenceCluster\nspec:\n  headGroupSpec:\n    template:\n";
  bomb += "      a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n";
  for (int i = 1; i < 9; ++i) {
    const std::string p = "*a" + std::to_string(i - 1);
    bomb += "      a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + p + "," + p + "," + p + "," + p + "," +
            p + "," + p + "," + p + "," + p + "," + p + "," + p + "]\n";
  }
  EXPECT_THAT(std::string(ParseManifest(bomb, "m.yaml").status().message()), HasSubstr("more than 100000 values"));
}

TEST(Manifest, DamagedFilesNeverCrash) {
  constexpr uint64_t kSeed = 20261121;
  std::cout << "seed " << kSeed << "\n";
  const std::string example = *ReadFile(MESH_SOURCE_DIR "/deploy/examples/inferencecluster.yaml");
  Mutator mutator(kSeed);
  for (int i = 0; i < 2000; ++i) {
    const auto cluster = ParseManifest(mutator.Mutate(i % 2 == 0 ? std::string(kGood) : example), "m.yaml");
    if (!cluster.ok()) {
      EXPECT_THAT(std::string(cluster.status().message()), HasSubstr("m.yaml:"));
    }
  }
}

}  // namespace
}  // namespace slmmesh
