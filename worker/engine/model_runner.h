// What the engine needs of a model: the group behind it, ranks and all, looks like one machine.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "worker/model/step_batch.h"

namespace slmmesh {

class ModelRunner {
 public:
  virtual ~ModelRunner() = default;
  virtual uint32_t vocab_size() const = 0;
  // Runs the batch, writes KV, and points *logits at [L, vocab_size] floats (row-major), valid until the next call.
  // An error means that the group's epoch is broken.
  virtual absl::Status Run(const StepBatch& batch, absl::Span<const float>* logits) = 0;
};

}  // namespace slmmesh
