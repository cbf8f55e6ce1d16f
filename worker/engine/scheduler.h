// Decides what a step computes. No clock, no model, no randomness: the same requests give the same plan.
//
//   1. Every running request gets the block that its next token needs. When none is free, a request is preempted: its
//      blocks go, its tokens stay, and it waits again ahead of those that never ran.
//   2. Running decodes, one token each. They always fit (max_num_seqs ≤ max_num_batched_tokens), so a long prompt never
//      stalls them; it costs them at most a step of max_num_batched_tokens, and no more prompt tokens than the caller
//      allows beside them (he measures how long those take).
//   3. Prefill chunks of running requests, oldest admission first. While another tenant has prompts to compute too, a
//      chunk takes at most half of the budget that is left.
//   4. Waiting requests are admitted. The next is the oldest one of the tenant that holds the fewest tokens in the
//   batch.
//   5. Budget that is still left extends the chunks, the latest first: they had the smaller halves.
//   6. What even then is left goes to the guesses that decodes want: never at the cost of a token or of a block.
//
// Progress: the oldest running request is never preempted, and a submit that needs more than all blocks is refused, so
// it finishes. The oldest of all requests is first in its tenant's queue, and its tenant's turn comes at the latest
// when the tenant's other requests have finished or were preempted: no request starves.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "worker/engine/kv_blocks.h"
#include "worker/engine/sequence.h"
#include "worker/engine/waiting_queue.h"

namespace slmmesh {

struct SchedulerLimits {
  uint32_t max_num_seqs = 0;            // running requests
  uint32_t max_num_batched_tokens = 0;  // tokens a step; at least max_num_seqs
};

// The logits of prompt tokens that one step computes for one request: bounds the memory that prompt_logprobs costs.
constexpr uint32_t kMaxPromptLogitRows = 64;

// The next `num_tokens` uncomputed tokens of a sequence, and room for guesses at those behind its last token.
struct Chunk {
  Sequence* sequence = nullptr;
  uint32_t num_tokens = 0;
  uint32_t max_guesses = 0;
};

// Not thread-safe. Does not own the sequences; one that was added must be removed before it dies.
class Scheduler {
 public:
  Scheduler(const SchedulerLimits& limits, KvBlocks* blocks) : limits_(limits), blocks_(blocks) {}

  void Add(Sequence* sequence) { waiting_.Add(sequence); }
  // Frees the sequence's blocks.
  void Remove(Sequence* sequence);

  // Empty only when there is no request at all. `max_prompt_tokens_beside_decodes` is at least 1.
  std::vector<Chunk> Schedule(uint32_t max_prompt_tokens_beside_decodes = std::numeric_limits<uint32_t>::max());

  const std::vector<Sequence*>& running() const { return running_; }
  const WaitingQueue& waiting() const { return waiting_; }
  uint64_t num_preemptions() const { return num_preemptions_; }

 private:
  // Each returns the budget that it leaves.
  uint32_t ScheduleRunning(uint32_t max_prompt_tokens_beside_decodes, std::vector<Chunk>* chunks) const;
  uint32_t Admit(uint32_t budget, std::vector<Chunk>* chunks);
  void Extend(uint32_t budget, std::vector<Chunk>* chunks) const;
  void MakeRoomForGuesses(std::vector<Chunk>* chunks) const;

  bool GrowRunning();  // false when a request was preempted
  Sequence* ChooseVictim() const;
  void Preempt(Sequence* sequence);
  uint32_t FirstChunk(const Sequence& sequence, uint32_t budget) const;
  bool OthersHavePrompts(const Sequence& sequence) const;
  uint64_t TokensHeldBy(const std::string& tenant) const;
  // The waiting requests in the order in which they should be admitted.
  std::vector<Sequence*> NextInLine() const;

  const SchedulerLimits limits_;
  KvBlocks* const blocks_;
  WaitingQueue waiting_;
  std::vector<Sequence*> running_;  // in the order of admission
  uint64_t num_preemptions_ = 0;
};

}  // namespace slmmesh
