#include "proto/raycluster_import.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <iostream>

#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "proto/manifest.h"
#include "tests/fuzz/mutator.h"

namespace slmmesh {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

// As people have it today.
constexpr char kRay[] = R"(apiVersion: ray.io/v1
kind: RayCluster
metadata: {name: sovereign-slm-mesh, namespace: ai-core, labels: {team: ai, ray.io/x: "1"}}
spec:
  rayVersion: "2.35.0"
  headGroupSpec:
    rayStartParams: {dashboard-host: 0.0.0.0}
    template:
      spec:
        containers:
        - name: ray-head
          image: vllm/vllm-openai:v0.4.2
          resources: {limits: {cpu: "8", memory: 32Gi}, requests: {cpu: "4", memory: 16Gi}}
          ports: [{containerPort: 6379, name: gcs}, {containerPort: 8265, name: dashboard}, {containerPort: 8000, name: api}]
  workerGroupSpecs:
  - groupName: gpu-accelerated-nodes
    replicas: 4
    minReplicas: 1
    maxReplicas: 8
    rayStartParams: {}
    template:
      spec:
        nodeSelector: {gpu: "yes"}
        containers:
        - name: ray-worker
          image: vllm/vllm-openai:v0.4.2
          args: [serve]
          resources: {limits: {nvidia.com/gpu: "2", memory: 64Gi}, requests: {nvidia.com/gpu: "2", memory: 32Gi}}
          volumeMounts: [{mountPath: /root/.cache/huggingface, name: model-storage}]
        volumes: [{name: model-storage, persistentVolumeClaim: {claimName: local-nas-models-pvc}}]
)";

ImportedCluster Import(const std::string& yaml, const ImportOptions& options = {}) {
  auto imported = ImportRayCluster(yaml, options);
  EXPECT_TRUE(imported.ok()) << imported.status();
  return imported.ok() ? *std::move(imported) : ImportedCluster();
}

v1::InferenceClusterSpec SpecOf(const ImportedCluster& imported) {
  auto cluster = ParseManifest(imported.yaml, "imported.yaml");
  EXPECT_TRUE(cluster.ok()) << cluster.status() << "\n" << imported.yaml;
  return cluster.ok() ? cluster->spec() : v1::InferenceClusterSpec();
}

std::string Replaced(const char* from, const char* to) { return absl::StrReplaceAll(kRay, {{from, to}}); }

std::string NotesOf(const ImportedCluster& imported) { return absl::StrJoin(imported.notes, "\n"); }

TEST(RayClusterImport, TheWholeFile) {
  EXPECT_EQ(Import(kRay).yaml, R"(apiVersion: slmmesh.io/v1alpha1
kind: InferenceCluster
metadata:
  name: sovereign-slm-mesh
  namespace: ai-core
  labels:
    team: ai
spec:
  model:
    servedName: sovereign-slm-mesh
    path: /models/CHANGE-ME
  tensorParallelSize: 1
  headGroupSpec:
    template:
      spec:
        containers:
          - name: head
            resources:
              requests:
                cpu: "1"
                memory: "1Gi"
  routerSpec:
    replicas: 1
    service:
      port: 8000
    template:
      spec:
        containers:
          - name: router
            resources:
              requests:
                cpu: "1"
                memory: "1Gi"
  workerGroupSpecs:
    - groupName: gpu-accelerated-nodes
      accelerator: nvidia
      replicas: 4
      minReplicas: 1
      maxReplicas: 8
      template:
        spec:
          nodeSelector:
            gpu: "yes"
          containers:
            - name: worker
              resources:
                limits:
                  memory: "64Gi"
                  nvidia.com/gpu: "2"
                requests:
                  memory: "32Gi"
                  nvidia.com/gpu: "2"
              volumeMounts:
                - mountPath: /models
                  name: model-storage
                  readOnly: true
          volumes:
            - name: model-storage
              persistentVolumeClaim:
                claimName: local-nas-models-pvc
)");
}

TEST(RayClusterImport, NotesSayWhatBecameOfEverything) {
  const std::string head = "spec.headGroupSpec.template.spec.containers[0].";
  const std::string worker = "spec.workerGroupSpecs[0].template.spec.containers[0]";
  EXPECT_THAT(
      Import(kRay).notes,
      ElementsAre(
          "spec.rayVersion: has no meaning here; dropped",
          "spec.headGroupSpec.rayStartParams: has no meaning here; dropped",
          head + "image: \"vllm/vllm-openai:v0.4.2\": replaced by this project's own image",
          head + "ports: 6379 (gcs), 8265 (dashboard), 8000 (api): dropped; the programs have ports of their own",
          head + "resources: the head needs little: 1 cpu and 1Gi are asked for",
          "spec.workerGroupSpecs[0].rayStartParams: has no meaning here; dropped",
          worker + ".image: \"vllm/vllm-openai:v0.4.2\": replaced by this project's own image",
          worker + ": args: dropped; the operator starts another program, with its own",
          HasSubstr("nvidia.com/gpu 2 is kept, but a worker uses one GPU"),
          HasSubstr("volume \"model-storage\" is kept, now at /models (it was /root/.cache/huggingface)"),
          HasSubstr("spec.tensorParallelSize: 1: every pod holds the whole model"),
          "spec.workerGroupSpecs[0].accelerator: nvidia, as nvidia.com/gpu is asked for",
          HasSubstr("spec.model.servedName: to be checked"), HasSubstr("spec.model.path: to be filled in"),
          HasSubstr("spec.routerSpec.service.port: 8000")));
}

TEST(RayClusterImport, OptionsFillInTheModel) {
  ImportOptions options;
  options.model_path = "/models/llama";
  options.served_name = "llama";
  options.tensor_parallel_size = 4;
  const ImportedCluster imported = Import(kRay, options);
  const auto spec = SpecOf(imported);
  EXPECT_FALSE(imported.needs_model_path);
  EXPECT_EQ(spec.model().path(), "/models/llama");
  EXPECT_EQ(spec.model().served_name(), "llama");
  EXPECT_EQ(spec.worker_group_specs(0).min_replicas(), 4u);
  EXPECT_THAT(NotesOf(imported), HasSubstr("minReplicas: 1 became 4, a multiple of tensorParallelSize (4)"));
  EXPECT_THAT(NotesOf(imported), Not(HasSubstr("to be filled in")));
}

TEST(RayClusterImport, VllmsArgumentsAreRead) {
  const auto spec = SpecOf(Import(Replaced("args: [serve]",
                                           "args: [\"vllm serve --model /root/x --served-model-name=chat "
                                           "--tensor-parallel-size 2 --max-model-len=4096\"]")));
  EXPECT_EQ(spec.model().served_name(), "chat");
  EXPECT_EQ(spec.model().path(), "/models/CHANGE-ME") << "/root/x is not mounted";
  EXPECT_EQ(spec.model().max_model_len(), 4096u);
  EXPECT_EQ(spec.tensor_parallel_size(), 2u);
  EXPECT_EQ(SpecOf(Import(Replaced("args: [serve]", "args: [--model, /models/a]"))).model().path(), "/models/a");
}

struct Case {
  const char* from;
  const char* to;
  const char* expected;  // in the YAML or in the notes
};

TEST(RayClusterImport, Variants) {
  const Case cases[] = {
      {"nvidia.com/gpu: \"2\", ", "", "accelerator: cpu"},
      {"groupName: gpu-accelerated-nodes", "groupName: GPU_nodes.", "groupName: gpu-nodes\n"},
      {"groupName: gpu-accelerated-nodes", "groupName: GPU_nodes.", "groupName: \"GPU_nodes.\" became \"gpu-nodes\""},
      {"replicas: 4\n", "replicas: 0\n", "replicas: 0 became minReplicas, 1"},
      {"replicas: 4\n", "replicas: 9\n", "replicas: 9 became maxReplicas, 8"},
      {"replicas: 4\n", "replicas: many\n", "replicas: dropped; it is not a number of pods"},
      {"memory: 64Gi}", "memory: 0.5}", "memory: \"0.5\""},
      {"rayVersion:", "enableInTreeAutoscaling: true\n  autoscalerOptions: {idleTimeoutSeconds: 90}\n  rayVersion:",
       "scaleDownAfterSeconds: 90"},
      {"rayVersion:", "suspend: true\n  rayVersion:", "spec.suspend: has no meaning here; dropped"},
      {"    rayStartParams: {dashboard-host: 0.0.0.0}", "    serviceType: NodePort", "type: NodePort"},
      {"args: [serve]", "env: [{name: RAY_x, value: a}, {name: LANG, value: C}]", "env: RAY_x: dropped"},
      {"args: [serve]", "env: [{name: RAY_x, value: a}, {name: LANG, value: C}]", "- name: LANG"},
      {"        volumes: [", "        hostNetwork: true\n        volumes: [{name: other, emptyDir: {}}, ",
       "spec.volumes: other: dropped; nothing mounts it here"},
      {"        volumes: [", "        hostNetwork: true\n        volumes: [", "spec: hostNetwork: dropped"},
  };
  for (const Case& c : cases) {
    const ImportedCluster imported = Import(Replaced(c.from, c.to));
    EXPECT_THAT(imported.yaml + NotesOf(imported), HasSubstr(c.expected)) << c.to;
  }
}

TEST(RayClusterImport, ErrorsNameFieldValueAndFix) {
  const Case cases[] = {
      {"ray.io/v1", "apps/v1", "r.yaml:1: .apiVersion: \"apps/v1\" is not KubeRay's; write ray.io/v1"},
      {"kind: RayCluster", "kind: RayService", "r.yaml:2: .kind: \"RayService\" starts programs on Ray"},
      {"kind: RayCluster", "kind: Pod", "r.yaml:2: .kind: \"Pod\" cannot be imported; write RayCluster"},
      {"name: sovereign-slm-mesh", "name: 9-lives", "metadata.name: \"9-lives\" is not a name"},
      {"  - groupName: gpu-accelerated-nodes", "  - groupName: \"\"",
       "workerGroupSpecs[0].groupName: \"\" is not a name"},
      {"  workerGroupSpecs:", "  other:", "spec.workerGroupSpecs: missing; write at least one group"},
      {"memory: 64Gi", "memory: lots", "resources.limits.memory: \"lots\" is not a quantity"},
      {"spec:\n  ray", "---\nspec:\n  ray", "r.yaml:1: holds 2 YAML documents"},
      {"kind: RayCluster", "kind: [", "r.yaml:"},
  };
  ImportOptions options;
  options.file = "r.yaml";
  for (const Case& c : cases) {
    const auto imported = ImportRayCluster(Replaced(c.from, c.to), options);
    ASSERT_FALSE(imported.ok()) << c.to;
    EXPECT_THAT(std::string(imported.status().message()), HasSubstr(c.expected));
    EXPECT_THAT(std::string(imported.status().message()), HasSubstr("r.yaml"));
  }
}

TEST(RayClusterImport, StringsStayStrings) {
  const ImportedCluster imported =
      Import(Replaced("gpu: \"yes\"", "a: \"1\", b: \"on\", c: \"1.10\", d: \"x: y\", e: \"a\\nb\", f: \"\", g: Null"));
  const auto spec = SpecOf(imported);
  const auto& pod = spec.worker_group_specs(0).template_().fields().at("spec").struct_value();
  const auto& selector = pod.fields().at("nodeSelector").struct_value().fields();
  for (const auto& [key, value] : {std::pair{"a", "1"}, {"b", "on"}, {"c", "1.10"}, {"d", "x: y"}, {"e", "a\nb"}}) {
    EXPECT_EQ(selector.at(key).string_value(), value) << imported.yaml;
  }
  EXPECT_EQ(selector.at("f").string_value(), "");
}

TEST(RayClusterImport, DamagedFilesNeverCrash) {
  constexpr uint64_t kSeed = 20261122;
  std::cout << "seed " << kSeed << "\n";
  Mutator mutator(kSeed);
  int imported_count = 0;
  for (int i = 0; i < 1500; ++i) {
    SCOPED_TRACE(testing::Message() << "iteration " << i);
    const auto imported = ImportRayCluster(mutator.Mutate(kRay), {});
    if (!imported.ok()) {
      EXPECT_THAT(std::string(imported.status().message()), HasSubstr("raycluster.yaml"));
      continue;
    }
    ++imported_count;
    ASSERT_TRUE(ParseManifest(imported->yaml, "imported.yaml").ok());
  }
  EXPECT_GT(imported_count, 100);
}

}  // namespace
}  // namespace slmmesh
