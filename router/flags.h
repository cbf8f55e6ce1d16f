// The router's knobs as options.
#pragma once

#include "absl/status/statusor.h"
#include "router/router.h"

namespace slmmesh {

// After ParseFlags. INVALID_ARGUMENT names the knob.
absl::StatusOr<RouterOptions> RouterOptionsFromFlags();
std::string AddressFileFromFlags();  // empty: none
absl::Duration DrainTimeFromFlags();

}  // namespace slmmesh
