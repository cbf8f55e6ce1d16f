// The rows of a step whose logits are wanted. Once the last layer has stored its keys and values, nobody reads what it
// makes of the others.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/backend.h"
#include "worker/model/step_batch.h"

namespace slmmesh {

// Not thread-safe. Keeps its memory from step to step.
class LogitRows {
 public:
  // The rows in their order, each run of consecutive ones a sequence of its own over the blocks of the one that it is
  // part of. Valid until the next call.
  kernels::SequenceLayout Select(const StepBatch& batch);

 private:
  std::vector<uint32_t> query_start_, block_table_, block_start_, positions_;
};

kernels::SequenceLayout LayoutOf(const StepBatch& batch);

}  // namespace slmmesh
