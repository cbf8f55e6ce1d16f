// Runs sequences through a model in random company, for tests: who shares a step, how prompts are cut, and which blocks
// hold what is drawn from a seed.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/model/testing/model_group.h"

namespace slmmesh {

using Tokens = std::vector<uint32_t>;
using Logits = std::vector<float>;  // [tokens of the sequence, vocab]

Tokens RandomTokens(std::mt19937_64& random, int64_t count, int64_t vocab_size);

// One sequence, one step, blocks 0, 1, 2, …
absl::StatusOr<Logits> RunAlone(ModelGroup& group, const Tokens& tokens, const KvCacheOptions& cache);

struct ScheduleOptions {
  KvCacheOptions cache;  // num_blocks is filled in
  int64_t max_step_tokens = 64;
  int64_t shared_prefix = 0;  // the first positions of all sequences, run once: a multiple of block_size
};

// All sequences, in steps of random members and chunks, over blocks in random order. Logits of sequence s at positions
// before the shared prefix are sequence 0's.
absl::StatusOr<std::vector<Logits>> RunTogether(ModelGroup& group, const std::vector<Tokens>& sequences,
                                                ScheduleOptions options, std::mt19937_64& random);

}  // namespace slmmesh
