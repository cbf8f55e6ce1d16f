// KubeRay's RayCluster → InferenceCluster: what has a meaning here is kept, everything else is named in a note.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace slmmesh {

struct ImportOptions {
  std::string file = "raycluster.yaml";  // for errors
  // A RayCluster does not say which model it serves, unless vLLM's arguments stand in it. Empty: as those say, else a
  // path to fill in and the cluster's name.
  std::string model_path;
  std::string served_name;
  uint32_t tensor_parallel_size = 0;  // 0: as vLLM's arguments say, else 1
};

struct ImportedCluster {
  std::string yaml;                // an InferenceCluster that ParseManifest takes
  std::vector<std::string> notes;  // `field: what became of it`, in the order of the file
  bool needs_model_path = false;   // the path in `yaml` is a mark to fill in
};

// Of one RayCluster (ray.io/v1 or v1alpha1) as YAML or JSON. Pure. INVALID_ARGUMENT names field, value and fix.
absl::StatusOr<ImportedCluster> ImportRayCluster(const std::string& yaml, const ImportOptions& options);

}  // namespace slmmesh
