#include "worker/engine/scheduler.h"

#include <algorithm>
#include <cassert>
#include <map>

namespace slmmesh {
namespace {

bool Older(const Sequence* a, const Sequence* b) { return a->arrival < b->arrival; }

uint32_t LargestChunk(const Sequence& sequence) {
  return sequence.NeedsPromptLogits() ? std::min(sequence.num_uncomputed(), kMaxPromptLogitRows)
                                      : sequence.num_uncomputed();
}

}  // namespace

std::vector<Chunk> Scheduler::Schedule(uint32_t max_prompt_tokens_beside_decodes) {
  const bool memory_suffices = GrowRunning();
  std::vector<Chunk> chunks;
  uint32_t budget = ScheduleRunning(max_prompt_tokens_beside_decodes, &chunks);
  if (memory_suffices) budget = Admit(budget, &chunks);
  Extend(budget, &chunks);
  MakeRoomForGuesses(&chunks);
  assert(!chunks.empty() || (running_.empty() && waiting_.empty()));
  return chunks;
}

bool Scheduler::GrowRunning() {
  std::vector<Sequence*> oldest_first = running_;
  std::sort(oldest_first.begin(), oldest_first.end(), Older);
  bool memory_suffices = true;
  for (Sequence* sequence : oldest_first) {
    // One that was preempted meanwhile has no blocks and is no longer running.
    while (!sequence->blocks.empty() && !blocks_->Grow(sequence)) {
      memory_suffices = false;
      Preempt(ChooseVictim());
    }
  }
  return memory_suffices;
}

// The most recently admitted request of the tenant that holds the most tokens; the oldest running request is spared.
Sequence* Scheduler::ChooseVictim() const {
  assert(running_.size() > 1);  // one alone always fits: Submit refuses what does not
  const Sequence* oldest = *std::min_element(running_.begin(), running_.end(), Older);
  Sequence* victim = nullptr;
  uint64_t most = 0;
  for (auto candidate = running_.rbegin(); candidate != running_.rend(); ++candidate) {
    if (*candidate == oldest) continue;
    const uint64_t held = TokensHeldBy((*candidate)->tenant);
    if (victim != nullptr && held <= most) continue;
    victim = *candidate;
    most = held;
  }
  return victim;
}

void Scheduler::Preempt(Sequence* sequence) {
  Remove(sequence);
  waiting_.Add(sequence);
  ++num_preemptions_;
}

void Scheduler::Remove(Sequence* sequence) {
  const auto position = std::find(running_.begin(), running_.end(), sequence);
  if (position == running_.end()) {
    waiting_.Remove(sequence);
    return;
  }
  running_.erase(position);
  blocks_->End(sequence);
}

uint32_t Scheduler::ScheduleRunning(uint32_t max_prompt_tokens_beside_decodes, std::vector<Chunk>* chunks) const {
  uint32_t budget = limits_.max_num_batched_tokens;
  for (Sequence* sequence : running_) {
    if (sequence->num_uncomputed() > 1) continue;
    chunks->push_back({sequence, 1});
    --budget;
  }
  if (!chunks->empty()) budget = std::min(budget, max_prompt_tokens_beside_decodes);
  for (Sequence* sequence : running_) {
    if (sequence->num_uncomputed() <= 1 || budget == 0) continue;
    const uint32_t num_tokens = FirstChunk(*sequence, budget);
    chunks->push_back({sequence, num_tokens});
    budget -= num_tokens;
  }
  return budget;
}

uint32_t Scheduler::Admit(uint32_t budget, std::vector<Chunk>* chunks) {
  while (budget > 0 && running_.size() < limits_.max_num_seqs && !waiting_.empty()) {
    Sequence* admitted = nullptr;
    for (Sequence* sequence : NextInLine()) {
      if (blocks_->IsBeingComputed(sequence, running_)) continue;  // worth a step's wait
      // One block for each running request keeps those from being preempted at once; nobody overtakes for lack of
      // memory.
      if (blocks_->Begin(sequence, static_cast<uint32_t>(running_.size()))) admitted = sequence;
      break;
    }
    if (admitted == nullptr) break;
    waiting_.Remove(admitted);
    running_.push_back(admitted);
    const uint32_t num_tokens = FirstChunk(*admitted, budget);
    chunks->push_back({admitted, num_tokens});
    budget -= num_tokens;
  }
  return budget;
}

void Scheduler::Extend(uint32_t budget, std::vector<Chunk>* chunks) const {
  for (auto chunk = chunks->rbegin(); chunk != chunks->rend(); ++chunk) {
    const uint32_t extra = std::min(budget, LargestChunk(*chunk->sequence) - chunk->num_tokens);
    chunk->num_tokens += extra;
    budget -= extra;
  }
}

// The blocks are free now and given back before the next schedule, so nobody is preempted for them.
void Scheduler::MakeRoomForGuesses(std::vector<Chunk>* chunks) const {
  uint32_t budget = limits_.max_num_batched_tokens;
  for (const Chunk& chunk : *chunks) budget -= chunk.num_tokens;
  for (Chunk& chunk : *chunks) {
    const uint32_t wanted = std::min(chunk.sequence->speculation.wanted, budget);
    if (wanted == 0 || chunk.sequence->num_uncomputed() != 1) continue;
    chunk.max_guesses = blocks_->GrowForGuesses(chunk.sequence, wanted);
    budget -= chunk.max_guesses;
  }
}

uint32_t Scheduler::FirstChunk(const Sequence& sequence, uint32_t budget) const {
  const uint32_t largest = LargestChunk(sequence);
  if (!OthersHavePrompts(sequence)) return std::min(largest, budget);
  return std::min(largest, std::min(budget, std::max(budget / 2, blocks_->block_size())));
}

bool Scheduler::OthersHavePrompts(const Sequence& sequence) const {
  return waiting_.HasOtherTenantThan(sequence.tenant) ||
         std::any_of(running_.begin(), running_.end(), [&](const Sequence* other) {
           return other->tenant != sequence.tenant && other->num_uncomputed() > 1;
         });
}

uint64_t Scheduler::TokensHeldBy(const std::string& tenant) const {
  uint64_t tokens = 0;
  for (const Sequence* sequence : running_) {
    if (sequence->tenant == tenant) tokens += sequence->num_tokens();
  }
  return tokens;
}

std::vector<Sequence*> Scheduler::NextInLine() const {
  std::map<std::string, uint64_t> held;
  for (const Sequence* sequence : running_) held[sequence->tenant] += sequence->num_tokens();
  std::vector<Sequence*> heads = waiting_.Heads();
  std::sort(heads.begin(), heads.end(), [&held](const Sequence* a, const Sequence* b) {
    const uint64_t held_a = held[a->tenant], held_b = held[b->tenant];
    return held_a != held_b ? held_a < held_b : Older(a, b);
  });
  return heads;
}

}  // namespace slmmesh
