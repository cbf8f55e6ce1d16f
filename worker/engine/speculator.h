// The engine's side of speculation: how many guesses each request makes in a step, who makes them, and what became of
// them.
#pragma once

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/clock.h"
#include "worker/engine/depth_policy.h"
#include "worker/engine/drafter.h"
#include "worker/engine/kv_blocks.h"
#include "worker/engine/model_runner.h"
#include "worker/engine/speculation.h"

namespace slmmesh {

// Totals since start, of the steps that verified guesses.
struct SpeculationStats {
  uint64_t verifications = 0;  // of one request's guesses
  uint64_t guessed = 0;        // tokens
  uint64_t judged = 0;         // those up to the first wrong one: what follows it says nothing
  uint64_t accepted = 0;
  uint64_t emitted = 0;
};

// What the target said to the guesses of one request.
struct Verification {
  uint32_t guessed = 0;
  uint32_t accepted = 0;
  uint32_t emitted = 0;  // tokens: the accepted ones, and the target's own unless the request ended before
};

// What a step took.
struct SpeculatedStep {
  double seconds = 0, draft_seconds = 0, run_seconds = 0;  // in all; of guessing; of the target, sampling included
  uint32_t decode_tokens = 0;                              // that the target ran for running streams, guesses included
  bool has_prompts = false;                                // it ran others, too
};

// Not thread-safe.
class Speculator {
 public:
  // `draft` is the model of the methods that have one. INVALID_ARGUMENT when it is missing.
  static absl::StatusOr<std::unique_ptr<Speculator>> Create(const SpeculationOptions& options, uint32_t vocab_size,
                                                            uint32_t max_model_len, ModelRunner* draft,
                                                            KvBlocks* blocks, const Clock* clock);

  // Before the schedule: says in each running sequence's state how many guesses it wants.
  void Want(absl::Span<Sequence* const> running);
  // After it: makes them. `max_tokens`: of a draft model that catches up.
  absl::Status Draft(absl::Span<const Chunk> chunks, uint32_t max_tokens) {
    return drafter_->Draft(chunks, max_tokens);
  }
  void NoteVerified(const Verification& verification, absl::Span<const float> leads, Acceptance* acceptance);
  void NoteStep(const SpeculatedStep& step);

  const SpeculationStats& stats() const { return stats_; }

 private:
  Speculator(const SpeculationOptions& options, uint32_t max_model_len)
      : options_(options), max_model_len_(max_model_len), policy_(options.max_guesses) {}

  // More guesses than these could not be emitted.
  uint32_t Useful(const Sequence& sequence) const;

  const SpeculationOptions options_;
  const uint32_t max_model_len_;
  DepthPolicy policy_;
  std::unique_ptr<Drafter> drafter_;
  SpeculationStats stats_;
};

}  // namespace slmmesh
