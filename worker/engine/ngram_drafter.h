// Guesses what followed the last few tokens where they stood before: costs no model.
#pragma once

#include "worker/engine/drafter.h"

namespace slmmesh {

class NgramDrafter : public Drafter {
 public:
  absl::Status Draft(absl::Span<const Chunk> chunks, uint32_t max_tokens) override;
};

}  // namespace slmmesh
