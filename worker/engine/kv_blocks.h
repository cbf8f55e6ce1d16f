// Gives sequences their KV blocks: from the prefix cache where it can, else from the pool.
#pragma once

#include <cstdint>
#include <vector>

#include "worker/engine/block_pool.h"
#include "worker/engine/prefix_cache.h"
#include "worker/engine/sequence.h"

namespace slmmesh {

enum class PrefixCaching { kOff, kOn };

// Not thread-safe.
class KvBlocks {
 public:
  KvBlocks(uint32_t num_blocks, uint32_t block_size, PrefixCaching caching);

  // Gives a sequence that has none the blocks for all its tokens, shared ones first (num_computed then says how much is
  // there already), and leaves `reserve` blocks free. False, and nothing changed, when there are not enough.
  bool Begin(Sequence* sequence, uint32_t reserve);
  // Adds the block that the last token needs, if it needs one. False when none is free.
  bool Grow(Sequence* sequence);
  // Adds blocks for up to `wanted` positions behind the last token, as far as blocks are free; how many positions there
  // are. To be given back by Trim before anything else is asked for this sequence.
  uint32_t GrowForGuesses(Sequence* sequence, uint32_t wanted);
  // Gives back the blocks behind the last token's.
  void Trim(Sequence* sequence);
  // Makes the full computed blocks of the sequence findable. Where another sequence computed the same block meanwhile,
  // takes that one (its bits are the same: numbers never depend on company) and frees its own.
  void Share(Sequence* sequence);
  // Takes all blocks back; what is findable stays so until the memory is needed.
  void End(Sequence* sequence);

  // True when one of `running` is about to compute the first shareable block that `waiting` misses: better to wait for
  // it than to compute it twice.
  bool IsBeingComputed(Sequence* waiting, absl::Span<Sequence* const> running) const;

  // A draft model with a cache of its own has computed the sequence's first `num_tokens` tokens.
  void NoteDrafted(Sequence* sequence, uint32_t num_tokens);
  // The sequence's last token was a right guess: what the draft model computed of it stays.
  void KeepDrafted(Sequence* sequence);
  // Notes what others computed of the draft's KV in blocks that the sequence shares.
  void FindDrafted(Sequence* sequence) const;

  void ForgetAll() { cache_.Clear(); }
  PrefixCache& cache() { return cache_; }
  const PrefixCache& cache() const { return cache_; }
  uint32_t num_free() const { return pool_.num_free(); }
  uint32_t num_blocks() const { return pool_.size(); }
  uint32_t block_size() const { return block_size_; }

 private:
  // The blocks of the longest cached prefix that leaves at least one token to compute.
  std::vector<BlockId> Match(Sequence* sequence) const;
  void ExtendHashes(Sequence* sequence) const;
  absl::Span<const uint32_t> BlockTokens(const Sequence& sequence, size_t index) const;
  BlockId AllocateForgetting();  // a block must be free

  const uint32_t block_size_;
  const PrefixCaching caching_;
  BlockPool pool_;
  PrefixCache cache_;
  std::vector<bool> is_drafted_;  // [num_blocks]: full, and so is the draft model's KV of it
};

}  // namespace slmmesh
