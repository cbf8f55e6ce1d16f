// What a manifest must keep to besides its fields' types. The API server refuses the same by the schema in deploy/crds
// (tests/chart/test_crd.py), so that a file that `mesh up` takes is one that `kubectl apply` takes.
#pragma once

#include "absl/status/status.h"
#include "proto/yaml_message.h"
#include "slmmesh/v1/cluster.pb.h"

namespace slmmesh {

// After the defaults. Errors read `file:line: field: problem; fix`.
absl::Status CheckManifest(const v1::InferenceCluster& cluster, const FieldLines& lines);

}  // namespace slmmesh
