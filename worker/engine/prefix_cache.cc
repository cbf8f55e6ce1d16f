#include "worker/engine/prefix_cache.h"

#include <algorithm>
#include <cassert>

namespace slmmesh {

PrefixCache::PrefixCache(uint32_t num_blocks, uint32_t block_size)
    : block_size_(block_size), entries_(num_blocks), tokens_(size_t{num_blocks} * block_size) {}

bool PrefixCache::Equals(BlockId block, const PrefixKey& key, absl::Span<const uint32_t> tokens) const {
  const Entry& entry = entries_[block];
  if (entry.parent != key.parent) return false;
  if (key.parent == kNoBlock && entry.salt != key.salt) return false;
  return std::equal(tokens.begin(), tokens.end(), tokens_.begin() + size_t{block} * block_size_);
}

std::optional<BlockId> PrefixCache::Find(const PrefixKey& key, absl::Span<const uint32_t> tokens) const {
  assert(tokens.size() == block_size_);
  const auto found = by_hash_.find(key.hash);
  if (found == by_hash_.end() || !Equals(found->second, key, tokens)) return std::nullopt;
  return found->second;
}

std::optional<BlockId> PrefixCache::Insert(const PrefixKey& key, absl::Span<const uint32_t> tokens, BlockId block) {
  assert(tokens.size() == block_size_ && !entries_[block].known);
  const auto [position, inserted] = by_hash_.try_emplace(key.hash, block);
  if (!inserted) return Find(key, tokens);
  entries_[block] = {true, key.hash, key.parent, key.parent == kNoBlock ? std::string(key.salt) : std::string()};
  std::copy(tokens.begin(), tokens.end(), tokens_.begin() + size_t{block} * block_size_);
  if (evicted_.erase(key.hash) == 0) stored_.insert(key.hash);
  return block;
}

void PrefixCache::Erase(BlockId block) {
  Entry& entry = entries_[block];
  if (!entry.known) return;
  by_hash_.erase(entry.hash);
  if (stored_.erase(entry.hash) == 0) evicted_.insert(entry.hash);
  entry = Entry();
}

void PrefixCache::Clear() {
  for (BlockId block = 0; block < entries_.size(); ++block) Erase(block);
}

PrefixChanges PrefixCache::TakeChanges() {
  PrefixChanges changes;
  changes.stored.assign(stored_.begin(), stored_.end());
  changes.evicted.assign(evicted_.begin(), evicted_.end());
  stored_.clear();
  evicted_.clear();
  return changes;
}

std::vector<BlockHash> PrefixCache::AllHashes() const {
  std::vector<BlockHash> hashes;
  hashes.reserve(by_hash_.size());
  for (const auto& [hash, block] : by_hash_) hashes.push_back(hash);
  return hashes;
}

}  // namespace slmmesh
