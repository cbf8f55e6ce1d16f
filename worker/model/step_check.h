// Holds a step's indices against their bounds, so that a plan from another process cannot make a kernel read or write
// outside its memory.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "worker/model/step_batch.h"

namespace slmmesh {

struct StepLimits {
  int64_t vocab_size;
  int64_t max_model_len;
  int64_t num_blocks;
  int64_t block_size;
};

// INVALID_ARGUMENT naming the field and the bound.
absl::Status CheckStepBatch(const StepBatch& batch, const StepLimits& limits);

}  // namespace slmmesh
