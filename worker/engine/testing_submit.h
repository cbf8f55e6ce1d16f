// For tests: submits in one line.
#pragma once

#include <string>
#include <vector>

#include "slmmesh/v1/worker.pb.h"

namespace slmmesh {

// Greedy, of tenant "t" with an equal salt.
inline v1::Submit GreedySubmit(const std::vector<uint32_t>& prompt, uint32_t max_tokens) {
  v1::Submit submit;
  submit.set_tenant("t");
  submit.set_cache_salt("t");
  submit.mutable_prompt_tokens()->Add(prompt.begin(), prompt.end());
  submit.mutable_sampling()->set_top_p(1);
  submit.mutable_sampling()->set_repetition_penalty(1);
  submit.mutable_sampling()->set_max_tokens(max_tokens);
  return submit;
}

// `count` tokens that count up from `first`.
inline std::vector<uint32_t> CountingTokens(uint32_t first, uint32_t count) {
  std::vector<uint32_t> tokens;
  for (uint32_t i = 0; i < count; ++i) tokens.push_back(first + i);
  return tokens;
}

}  // namespace slmmesh
