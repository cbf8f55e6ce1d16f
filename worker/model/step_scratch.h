// The activations of one step. Grows to the largest step seen, then a step allocates nothing.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "kernels/backend.h"
#include "worker/checkpoint/model_config.h"
#include "worker/model/buffer.h"
#include "worker/model/shard_plan.h"

namespace slmmesh {

struct StepScratch {
  Buffer residual;   // [T, hidden] the stream that every block adds to
  Buffer normed;     // [T, hidden] what a block reads
  Buffer delta;      // [T, hidden] what a block adds: this rank's partial sum, then the whole
  Buffer qkv;        // [T, (q_heads + 2 * kv_heads) * head_dim] of this rank
  Buffer attention;  // [T, q_heads * head_dim] of this rank
  Buffer gate_up;    // [T, 2 * mlp columns] of this rank
  Buffer mlp;        // [T, mlp columns] of this rank
  Buffer logits;     // [L, vocab columns] of this rank
  int64_t tokens = 0;
  int64_t logit_rows = 0;

  // RESOURCE_EXHAUSTED when memory does not suffice; then the scratch is empty.
  absl::Status Reserve(kernels::Backend* backend, const ModelConfig& config, const ShardPlan& plan, int64_t num_tokens,
                       int64_t num_logit_rows);
};

}  // namespace slmmesh
