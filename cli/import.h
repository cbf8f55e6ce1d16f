// `mesh import`: a KubeRay RayCluster as an InferenceCluster on standard output, notes about it on standard error.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace slmmesh {

struct ImportCommandOptions {
  std::string file;    // "-": standard input
  std::string output;  // empty: standard output
  std::string model_path;
  std::string served_name;
  int tensor_parallel_size = 0;
};

absl::Status Import(const ImportCommandOptions& options);

}  // namespace slmmesh
