// `mesh convert` and `mesh evaluate`: both are mesh-model's, a program beside this one, as mesh itself knows no models.
#pragma once

#include "absl/status/status.h"

namespace slmmesh {

bool IsModelCommand(const char* name);

// Becomes mesh-model with the same arguments. Returns only when that cannot be. Call it before signals are blocked.
absl::Status BecomeModelProgram(char** argv);

}  // namespace slmmesh
