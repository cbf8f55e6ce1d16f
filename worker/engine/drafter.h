// Where guesses at the next tokens come from.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "worker/engine/scheduler.h"

namespace slmmesh {

// Not thread-safe.
class Drafter {
 public:
  virtual ~Drafter() = default;

  // Gives the sequence of each chunk at most chunk.max_guesses guesses, in its speculation.guesses, which is empty
  // before; and none behind one that would end the request. May compute up to `max_tokens` of tokens that it has not
  // seen yet. An error means that the group's epoch is broken.
  virtual absl::Status Draft(absl::Span<const Chunk> chunks, uint32_t max_tokens) = 0;
};

}  // namespace slmmesh
