// The InferenceCluster manifest, as `kubectl apply` and `mesh up` both read it: parsed, checked, defaults filled in.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "slmmesh/v1/cluster.pb.h"

namespace slmmesh {

// Every optional field is set after this. Errors read `file:line: field: problem; fix`.
absl::StatusOr<v1::InferenceCluster> ParseManifest(const std::string& yaml, const std::string& file);
absl::StatusOr<v1::InferenceCluster> LoadManifest(const std::string& path);

}  // namespace slmmesh
