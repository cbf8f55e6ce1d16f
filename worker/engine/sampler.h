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
#include "worker/engine/leading_token.h"
#include "worker/engine/sampling_state.h"
#include "worker/engine/token_distribution.h"

namespace slmmesh {

// Not thread-safe: holds scratch memory of one row.
class Sampler {
 public:
  // What a draft draws its guesses from is thinned to so many tokens: any proposal is as right as another, and this one
  // bounds what must be kept of it.
  static constexpr uint32_t kProposalTokens = 64;

  // logits: [vocab_size]. Empty when no token can be chosen: all are masked, or the row's maximum is not finite.
  std::optional<uint32_t> Sample(absl::Span<const float> logits, const SamplingState& state);

  // As Sample, for a draft; and by how much, in logits, the token led over the second best: what says how sure it is.
  std::optional<LeadingToken> Guess(absl::Span<const float> logits, const SamplingState& state);
  // As Guess with the likeliest of the tokens alone; tells what it drew from. For a draft under the rejection rule.
  std::optional<LeadingToken> Propose(absl::Span<const float> logits, const SamplingState& state,
                                      TokenDistribution* proposal);
  // As Sample in distribution, given a guess that was drawn from `proposal`: what it gives is the guess as often as can
  // be (rejection.h). At temperature 0 it is what Sample gives.
  std::optional<uint32_t> SampleGuessed(absl::Span<const float> logits, const SamplingState& state, uint32_t guess,
                                        const TokenDistribution& proposal);

 private:
  // Steps 1 to 3; points *logits at the outcome. The likeliest token, if any can be chosen.
  std::optional<uint32_t> Adjust(absl::Span<const float>* logits, const SamplingState& state);
  // Steps 4 and 5.
  void Thin(absl::Span<const float> logits, float max_logit, const v1::SamplingParams& params);
  TokenDistribution Distribution() const;               // of the candidates
  LeadingToken Draw(const SamplingState& state) const;  // step 6; the lead in logits
  LeadingToken LeadOf(uint32_t likeliest, absl::Span<const float> logits) const;

  std::vector<float> adjusted_;
  std::vector<float> maxima_;
  Candidates candidates_;
};

}  // namespace slmmesh
