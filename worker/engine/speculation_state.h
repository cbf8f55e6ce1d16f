// What speculation knows of a sequence.
#pragma once

#include <cstdint>
#include <vector>

#include "worker/engine/acceptance.h"
#include "worker/engine/ngram_index.h"
#include "worker/engine/token_distribution.h"

namespace slmmesh {

struct SpeculationState {
  uint32_t wanted = 0;  // guesses that the next step should make
  // Of this step: the guesses at the next tokens, and, under the rejection rule, what a draft model drew each from.
  std::vector<uint32_t> guesses;
  std::vector<TokenDistribution> proposals;  // empty: the guesses were not drawn
  std::vector<float> leads;                  // of a draft model's guesses, by how clearly it made each; in logits

  Acceptance acceptance;
  NgramIndex ngrams;
  // Tokens whose KV a draft model with a cache of its own has computed; then, guesses included, how far it wrote.
  uint32_t num_drafted = 0;
  uint32_t num_written = 0;
};

}  // namespace slmmesh
