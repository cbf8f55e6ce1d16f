// The subcommands that need a model in this process, which mesh has not: each is a program beside this one.
#pragma once

#include "absl/status/status.h"

namespace slmmesh {

// `mesh convert` and `mesh evaluate`, which mesh-model does, and `mesh bench --speculative`, which speculation-bench
// does. Null for all others. `argv` ends with a null pointer.
const char* ModelProgramOf(char** argv);

// Becomes that program with the arguments that are left for it. Returns only when that cannot be. Call it before
// signals are blocked.
absl::Status BecomeModelProgram(char** argv);

}  // namespace slmmesh
