// Finds where the last few tokens of a text stood before, to guess what follows: prompts that are summarised, code that
// is edited and answers that repeat themselves hold their own continuation.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/types/span.h"

namespace slmmesh {

// Not thread-safe; belongs to one sequence. A lookup costs what is new since the last one. Holds at most three entries
// a token, a small part of what the token's KV takes.
class NgramIndex {
 public:
  static constexpr uint32_t kLongest = 4, kShortest = 2;

  // The tokens that followed the most recent earlier occurrence of the longest suffix of `tokens` that occurred before,
  // `count` of them: where they reach the end of the text, they go on with themselves. Empty when none occurred.
  // `tokens` must start with those of the last call.
  std::vector<uint32_t> Continue(absl::Span<const uint32_t> tokens, uint32_t count);

 private:
  void Add(absl::Span<const uint32_t> tokens);

  // Of the n-grams that end before the last token, each length's by its hash: where the latest one's continuation is.
  absl::flat_hash_map<uint64_t, uint32_t> continuations_;
  uint32_t num_indexed_ = 0;  // tokens up to which n-grams end
};

}  // namespace slmmesh
