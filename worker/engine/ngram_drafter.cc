#include "worker/engine/ngram_drafter.h"

#include <algorithm>

namespace slmmesh {

absl::Status NgramDrafter::Draft(absl::Span<const Chunk> chunks, uint32_t) {
  for (const Chunk& chunk : chunks) {
    if (chunk.max_guesses == 0) continue;
    Sequence& sequence = *chunk.sequence;
    std::vector<uint32_t>& guesses = sequence.speculation.guesses;
    guesses = sequence.speculation.ngrams.Continue(sequence.tokens, chunk.max_guesses);
    const auto ends = std::find_if(guesses.begin(), guesses.end(),
                                   [&](uint32_t token) { return sequence.sampling.EndsRequest(token); });
    if (ends != guesses.end()) guesses.erase(ends + 1, guesses.end());
  }
  return absl::OkStatus();
}

}  // namespace slmmesh
