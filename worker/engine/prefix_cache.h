// Which block holds which full block of tokens. The chain hash finds an entry, but only equality of what it stands for
// confirms it: the tokens one by one, the block before it, and for a first block the tenant's salt. A collision of
// hashes therefore costs a miss and nothing else.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/types/span.h"
#include "proto/block_hash.h"
#include "worker/engine/block_pool.h"

namespace slmmesh {

// What one full block of tokens is, apart from its tokens.
struct PrefixKey {
  BlockHash hash = 0;
  BlockId parent = kNoBlock;  // the block of the tokens before; kNoBlock: these are the first
  std::string_view salt;      // compared for first blocks: later ones inherit it from their parent
};

struct PrefixChanges {
  std::vector<BlockHash> stored, evicted;
};

// Not thread-safe. A block's parent must outlive it here: holders release their blocks last to first.
class PrefixCache {
 public:
  PrefixCache(uint32_t num_blocks, uint32_t block_size);

  // tokens: [block_size]
  std::optional<BlockId> Find(const PrefixKey& key, absl::Span<const uint32_t> tokens) const;
  // Remembers `block`. When an equal one is known already, returns that instead. Empty when another entry has the hash:
  // the first one stays, this block and what follows it cannot be shared.
  std::optional<BlockId> Insert(const PrefixKey& key, absl::Span<const uint32_t> tokens, BlockId block);
  // Forgets the block, if it is known.
  void Erase(BlockId block);
  void Clear();

  bool Holds(BlockId block) const { return entries_[block].known; }
  // The net changes since the last call; bounded by the number of blocks.
  PrefixChanges TakeChanges();
  std::vector<BlockHash> AllHashes() const;

 private:
  struct Entry {
    bool known = false;
    BlockHash hash = 0;
    BlockId parent = kNoBlock;
    std::string salt;  // of first blocks
  };

  bool Equals(BlockId block, const PrefixKey& key, absl::Span<const uint32_t> tokens) const;

  uint32_t block_size_;
  std::vector<Entry> entries_;    // [num_blocks]
  std::vector<uint32_t> tokens_;  // [num_blocks, block_size]
  absl::flat_hash_map<BlockHash, BlockId> by_hash_;
  absl::flat_hash_set<BlockHash> stored_, evicted_;  // disjoint
};

}  // namespace slmmesh
