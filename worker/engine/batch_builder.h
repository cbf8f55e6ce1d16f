// Turns the scheduler's chunks into what the model runs.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "worker/engine/scheduler.h"
#include "worker/model/step_batch.h"

namespace slmmesh {

// Which rows of the logits belong to a chunk: first those of its prompt logprobs, then, when the chunk reaches the
// sequence's end, the one that the next token is chosen from, then that of each guess.
struct ChunkRows {
  uint32_t first = 0;
  uint32_t num_prompt_rows = 0;
  bool ends_sequence = false;
};

struct BuiltBatch {
  StepBatch batch;
  std::vector<ChunkRows> rows;  // of each chunk
  uint32_t prefill_tokens = 0, decode_tokens = 0;
};

BuiltBatch BuildBatch(absl::Span<const Chunk> chunks, uint32_t block_size);

}  // namespace slmmesh
