// The knobs of mesh-operator.
#pragma once

#include "absl/status/statusor.h"
#include "operator/mesh_operator.h"

namespace slmmesh {

// From the parsed flags; INVALID_ARGUMENT names the knob.
absl::StatusOr<MeshOperator::Options> OperatorOptionsFromFlags();

}  // namespace slmmesh
