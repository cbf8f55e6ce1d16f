// One request as the engine holds it: its tokens, where their KV lies, and what is still to be told.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "proto/block_hash.h"
#include "slmmesh/v1/worker.pb.h"
#include "worker/engine/block_pool.h"
#include "worker/engine/sampling_state.h"
#include "worker/engine/speculation_state.h"

namespace slmmesh {

struct Sequence {
  Sequence(uint64_t id, uint64_t arrival, const v1::Submit& submit, absl::Span<const uint32_t> eos_token_ids)
      : id(id),
        arrival(arrival),
        tenant(submit.tenant()),
        cache_salt(submit.cache_salt()),
        tokens(submit.prompt_tokens().begin(), submit.prompt_tokens().end()),
        num_prompt(static_cast<uint32_t>(tokens.size()) - submit.generated_tokens()),
        sampling(submit.sampling(), eos_token_ids) {
    for (uint32_t i = 0; i < num_tokens(); ++i) {
      i < num_prompt ? sampling.AddPromptToken(tokens[i]) : sampling.AddOutputToken(tokens[i]);
    }
  }

  const uint64_t id;
  const uint64_t arrival;  // 0, 1, 2 …: older is smaller
  const std::string tenant;
  const std::string cache_salt;

  std::vector<uint32_t> tokens;  // the prompt, then the output
  const uint32_t num_prompt;     // without output generated elsewhere
  SamplingState sampling;

  // Where the KV lies. Blocks 0 … num_shareable - 1 are in the prefix cache, under hashes of the same index.
  std::vector<BlockId> blocks;
  std::vector<BlockHash> hashes;  // of the full blocks of tokens, as far as known
  uint32_t num_computed = 0;      // tokens whose KV is computed
  uint32_t num_shareable = 0;
  bool unshareable = false;  // a hash collided: no further block can enter the prefix cache

  SpeculationState speculation;

  absl::Time submitted = absl::InfinitePast();
  absl::Time deadline = absl::InfiniteFuture();
  // What the first output reports besides its token.
  bool was_scheduled = false;
  uint32_t cached_tokens = 0;
  uint32_t queue_us = 0;
  std::vector<v1::PromptLogprob> prompt_logprobs;  // of prompt tokens 1, 2 … so far
  bool first_output_sent = false;

  uint32_t num_tokens() const { return static_cast<uint32_t>(tokens.size()); }
  uint32_t num_uncomputed() const { return num_tokens() - num_computed; }
  // While true, every prompt token must be computed here, since the logits before each are wanted.
  bool NeedsPromptLogits() const {
    return sampling.params().prompt_logprobs() && prompt_logprobs.size() + 1 < num_prompt;
  }
};

}  // namespace slmmesh
