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

constexpr char kTemplate[] = "    template: {spec: {containers: [{name: worker, image: \"1.10\", tty: true, n: 3}]}}\n";

TEST(Manifest, FillsDefaultsAndReadsAliases) {
  const auto cluster = ParseManifest(kGood, "m.yaml");
  ASSERT_TRUE(cluster.ok()) << cluster.status();
  const auto& spec = cluster->spec();
  EXPECT_EQ(spec.memory_utilization(), 0.5);
  EXPECT_EQ(spec.model().weights(), "auto");
  EXPECT_EQ(spec.engine().block_size(), 16u);
  EXPECT_EQ(spec.router_spec().service().port(), 8080u);
  EXPECT_EQ(spec.router_spec().service().type(), "ClusterIP");
  EXPECT_EQ(spec.rollout().max_surge(), 1u);
  EXPECT_EQ(spec.rollout().progress_deadline_seconds(), 600u);
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

TEST(Manifest, BoundsThatAreNotWrittenFollowWhatIsWanted) {
  struct Case {
    const char* from;
    const char* to;
    uint32_t min, max;
  };
  const Case cases[] = {
      {"    maxReplicas: 8\n", "", 2, 4},                                   // from replicas
      {"    replicas: 4\n    maxReplicas: 8\n", "", 2, 2},                  // from tensorParallelSize
      {"replicas: 4\n    maxReplicas: 8", "replicas: 0", 0, 0},             // down to nothing
      {"    maxReplicas: 8\n", "    maxReplicas: 8\n  groups: 0\n", 0, 8},  // scaled to nothing
      {"    replicas: 4\n    maxReplicas: 8\n", "  groups: 3\n", 2, 6},     // scaled up
      {"    maxReplicas: 8\n", "    minReplicas: 0\n  groups: 1\n", 0, 4},  // scaled down
  };
  for (const Case& c : cases) {
    std::string text = absl::StrReplaceAll(kGood, {{c.from, c.to}});
    // `groups` of the cases stands behind the worker group, one level up: the template goes.
    text = absl::StrReplaceAll(text, {{kTemplate, ""}});
    const auto cluster = ParseManifest(text, "m.yaml");
    ASSERT_TRUE(cluster.ok()) << cluster.status() << "\n" << text;
    EXPECT_EQ(cluster->spec().worker_group_specs(0).min_replicas(), c.min) << c.to;
    EXPECT_EQ(cluster->spec().worker_group_specs(0).max_replicas(), c.max) << c.to;
  }
}

TEST(Manifest, AutoscalingAndSpeculativeHaveDefaultsOnlyWhereTheyAreWritten) {
  EXPECT_FALSE(ParseManifest(kGood, "m.yaml")->spec().has_autoscaling());
  EXPECT_FALSE(ParseManifest(kGood, "m.yaml")->spec().has_speculative());
  const auto cluster = ParseManifest(std::string(kGood) + "  autoscaling: {}\n  speculative: {}\n", "m.yaml");
  ASSERT_TRUE(cluster.ok()) << cluster.status();
  EXPECT_EQ(cluster->spec().autoscaling().target_queue_milliseconds(), 200u);
  EXPECT_EQ(cluster->spec().autoscaling().target_kv_utilization(), 0.8);
  EXPECT_EQ(cluster->spec().speculative().method(), "none");
  EXPECT_EQ(cluster->spec().speculative().num_speculative_tokens(), 5u);
  EXPECT_EQ(cluster->spec().speculative().rule(), "coupled");
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
      {"name: demo", "name: 3d", "m.yaml:3: metadata.name: \"3d\" is not a name; write a letter first"},
      {"name: demo", "name: demo-head", "m.yaml:3: metadata.name: \"demo-head\" is what a head's Service is called"},
      {"maxReplicas: 8", "maxReplicas: 7", "m.yaml:13: spec.workerGroupSpecs[0].maxReplicas: 7 pods do not make whole"},
      {"maxReplicas: 8", "minReplicas: 1", "m.yaml:13: spec.workerGroupSpecs[0].minReplicas: 1 pods do not make whole"},
      {"maxReplicas: 8", "maxReplicas: 2048", "m.yaml:13: spec.workerGroupSpecs[0].maxReplicas: 2048 is out of range"},
      {"  model:", "  groups: 5\n  model:", "m.yaml:5: spec.groups: 5 groups of 2 pods are not between minReplicas (2"},
      {"  model:", "  rollout: {maxSurge: 0}\n  model:", "m.yaml:5: spec.rollout.maxUnavailable: 0 with maxSurge 0"},
      {"  model:", "  rollout: {historyLimit: 0}\n  model:", "m.yaml:5: spec.rollout.historyLimit: 0 is out of range"},
      {"  model:", "  autoscaling: {scaleToZeroAfterSeconds: 9}\n  model:",
       "m.yaml:5: spec.autoscaling.scaleToZeroAfterSeconds: 9 needs a worker group that may have no pods"},
      {"  model:", "  autoscaling: {targetKvUtilization: 0}\n  model:",
       "m.yaml:5: spec.autoscaling.targetKvUtilization: 0 is out of range"},
      {"  model:", "  speculative: {method: draft}\n  model:",
       "m.yaml:5: spec.speculative.model: method draft needs a draft model"},
      {"  model:", "  routerSpec: {service: {type: External}}\n  model:",
       "m.yaml:5: spec.routerSpec.service.type: \"External\" is not known"},
      {"n: 3", "resources: {limits: {memory: 64GB}}",
       "spec.workerGroupSpecs[0].template.spec.containers[0].resources.limits.memory: \"64GB\" is not a quantity"},
      {"n: 3", "resources: {requests: {cpu: 0.5}}", "resources.requests.cpu: \"0.5\" is not a quantity"},
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
