// What the choice of a request's next token depends on besides its logits: the parameters, and what it has said so far.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/types/span.h"
#include "slmmesh/v1/sampling.pb.h"

namespace slmmesh {

// Not thread-safe; belongs to one sequence.
class SamplingState {
 public:
  SamplingState(const v1::SamplingParams& params, absl::Span<const uint32_t> eos_token_ids);

  // To be told of every token once: the prompt's, then the output's.
  void AddPromptToken(uint32_t token);
  void AddOutputToken(uint32_t token);

  // A guess at the next token counts as if it had been chosen, until it is taken back. Guesses are taken back before
  // the next output token is told.
  void AddGuess(uint32_t token);
  void DropGuesses();

  uint32_t num_output() const { return num_output_; }  // the index of the next token
  bool EndsRequest(uint32_t token) const;

  // True when the next token is chosen from the logits as they are.
  bool LeavesLogits() const;
  // Logit bias, then penalties, then masks, in that order (sampler.h).
  void AdjustLogits(absl::Span<float> logits) const;

  const v1::SamplingParams& params() const { return params_; }

 private:
  bool penalizes() const;

  v1::SamplingParams params_;
  std::vector<std::pair<uint32_t, float>> logit_bias_;
  std::vector<uint32_t> ending_tokens_;  // end-of-sequence unless ignored, and stop tokens
  std::vector<uint32_t> ignored_eos_;    // never chosen
  // The tokens of prompt and output, and how often each is in the output; kept only as far as penalties need it.
  absl::flat_hash_map<uint32_t, uint32_t> output_counts_;
  uint32_t num_output_ = 0;
  struct Guess {
    uint32_t token;
    bool is_new;  // it was in neither prompt nor output
  };
  std::vector<Guess> guesses_;
};

}  // namespace slmmesh
