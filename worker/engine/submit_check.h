// Refuses at the door what could never run: afterwards the engine trusts every field.
#pragma once

#include "absl/status/status.h"
#include "slmmesh/v1/worker.pb.h"
#include "worker/engine/engine.h"

namespace slmmesh {

// INVALID_ARGUMENT that names field, value and fix.
absl::Status CheckSubmit(const v1::Submit& submit, const EngineOptions& options, uint32_t vocab_size);

}  // namespace slmmesh
