// The schema of the custom resource and the code agree: on the defaults, and on what is refused.
#include <gmock/gmock.h>
#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>
#include <yaml-cpp/yaml.h>

#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "proto/manifest.h"

namespace slmmesh {
namespace {

// Of a field whose default follows from another one: only the code has it.
const char* const kNotInTheSchema[] = {
    "memoryUtilization",  // its alias may be written instead
    "workerGroupSpecs[].replicas",
    "workerGroupSpecs[].minReplicas",
    "workerGroupSpecs[].maxReplicas",
};

constexpr char kLeast[] = R"(apiVersion: slmmesh.io/v1alpha1
kind: InferenceCluster
metadata: {name: demo}
spec:
  model: {servedName: m, path: /m}
  workerGroupSpecs: [{groupName: g}]
  autoscaling: {}
  speculative: {}
)";

using Values = std::map<std::string, std::string>;  // by path

std::string Join(const std::string& path, const std::string& name) {
  return path.empty() ? name : absl::StrCat(path, ".", name);
}

void CollectSchemaDefaults(const YAML::Node& schema, const std::string& path, Values* defaults) {
  if (schema["default"] && schema["default"].IsScalar()) (*defaults)[path] = schema["default"].Scalar();
  for (const auto& property : schema["properties"]) {
    CollectSchemaDefaults(property.second, Join(path, property.first.Scalar()), defaults);
  }
  if (schema["items"]) CollectSchemaDefaults(schema["items"], path + "[]", defaults);
}

void CollectValues(const YAML::Node& node, const std::string& path, Values* values) {
  if (node.IsScalar()) (*values)[path] = node.Scalar();
  if (node.IsSequence()) {
    for (const auto& item : node) CollectValues(item, path + "[]", values);
  }
  if (node.IsMap()) {
    for (const auto& entry : node) CollectValues(entry.second, Join(path, entry.first.Scalar()), values);
  }
}

Values SchemaDefaults() {
  const YAML::Node crd = YAML::LoadFile(MESH_SOURCE_DIR "/deploy/crds/slmmesh.io_inferenceclusters.yaml");
  Values defaults;
  CollectSchemaDefaults(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"], "", &defaults);
  return defaults;
}

// What the code fills in beyond what kLeast says.
Values CodeDefaults() {
  std::string json;
  EXPECT_TRUE(google::protobuf::util::MessageToJsonString(ParseManifest(kLeast, "m.yaml")->spec(), &json).ok());
  Values values;
  CollectValues(YAML::Load(json), "", &values);
  for (const char* written : {"model.servedName", "model.path", "workerGroupSpecs[].groupName"}) values.erase(written);
  for (const char* path : kNotInTheSchema) values.erase(path);
  return values;
}

TEST(ManifestCrd, SchemaAndCodeHaveTheSameDefaults) {
  const Values schema = SchemaDefaults();
  EXPECT_GT(schema.size(), 20u);
  EXPECT_EQ(schema, CodeDefaults());
}

// `patch` over `base`, mapping by mapping; null takes a key away.
YAML::Node Merged(const YAML::Node& base, const YAML::Node& patch) {
  if (!base.IsDefined() || !base.IsMap() || !patch.IsMap()) return patch;
  YAML::Node merged = YAML::Clone(base);
  for (const auto& entry : patch) {
    const std::string key = entry.first.Scalar();
    if (entry.second.IsNull()) {
      merged.remove(key);
    } else {
      merged[key] = Merged(base[key], entry.second);
    }
  }
  return merged;
}

TEST(ManifestCrd, WhatTheApiServerRefusesIsRefused) {
  const YAML::Node table = YAML::LoadFile(MESH_SOURCE_DIR "/tests/chart/refusals.yaml");
  const auto base = ParseManifest(YAML::Dump(table["base"]), "m.yaml");
  ASSERT_TRUE(base.ok()) << base.status();
  EXPECT_GT(table["refusals"].size(), 40u);
  for (const YAML::Node& refusal : table["refusals"]) {
    const auto cluster = ParseManifest(YAML::Dump(Merged(table["base"], refusal["with"])), "m.yaml");
    if (!refusal["mesh"]) {
      EXPECT_TRUE(cluster.ok()) << cluster.status();
      continue;
    }
    EXPECT_FALSE(cluster.ok()) << refusal;
    EXPECT_THAT(std::string(cluster.status().message()), ::testing::HasSubstr(refusal["mesh"].Scalar()));
  }
}

}  // namespace
}  // namespace slmmesh
