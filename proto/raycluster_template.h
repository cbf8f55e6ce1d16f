// The pod template of a RayCluster's group → that of an InferenceCluster's: where pods run, what they ask for and the
// weights stay; Ray's program, its arguments and its ports go.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "nlohmann/json.hpp"

namespace slmmesh {

using OrderedJson = nlohmann::ordered_json;

// `object[key]`, or null where `object` is not a mapping or has no such key.
const OrderedJson& Member(const OrderedJson& object, const std::string& key);
std::string StringMember(const OrderedJson& object, const std::string& key);  // empty where it is not a string

// What vLLM was told on its command line; empty or 0 where it was not.
struct VllmArguments {
  std::string model, served_name;
  uint32_t tensor_parallel_size = 0;
  uint32_t max_model_len = 0;
};

struct ImportedTemplate {
  OrderedJson pod;                  // for the InferenceCluster
  bool has_gpus = false;            // asks for nvidia.com/gpu
  std::vector<uint32_t> ports;      // of Ray's container
  std::vector<std::string> mounts;  // where volumes appear in the worker
  VllmArguments vllm;
};

// `role`: "head" or "worker", the name that our container gets. `path`: of the template, for the notes.
ImportedTemplate ImportRayTemplate(const OrderedJson& pod_template, const std::string& role, const std::string& path,
                                   std::vector<std::string>* notes);

}  // namespace slmmesh
