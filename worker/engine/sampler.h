// Chooses a token from a row of logits. The order of operations is vLLM's (V1 sampler):
//   1. logit_bias is added;
//   2. penalties: repetition (over prompt and output; a positive logit is divided, another multiplied), then frequency,
//      then presence (both over the output, subtracted);
//   3. masks: until min_tokens, end-of-sequence and stop tokens; with ignore_eos, end-of-sequence always;
//   4. temperature 0: the largest logit, the lowest id of equals. Else the logits are divided by it, and
//   5. min_p, then top_k, then top_p (of what the former left) thin the candidates out, and
//   6. Gumbel-max chooses: the largest logit / temperature + noise(seed, token index, token id).
// The outcome is a function of the row, the parameters and the tokens so far, and of nothing else.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/types/span.h"
#include "worker/engine/candidates.h"
#include "worker/engine/sampling_state.h"

namespace slmmesh {

// Not thread-safe: holds scratch memory of one row.
class Sampler {
 public:
  // logits: [vocab_size]. Empty when no token can be chosen: all are masked, or the row's maximum is not finite.
  std::optional<uint32_t> Sample(absl::Span<const float> logits, const SamplingState& state);

 private:
  std::vector<float> adjusted_;
  std::vector<float> maxima_;
  Candidates candidates_;
};

}  // namespace slmmesh
