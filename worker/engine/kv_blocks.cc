#include "worker/engine/kv_blocks.h"

#include <algorithm>
#include <cassert>

namespace slmmesh {

KvBlocks::KvBlocks(uint32_t num_blocks, uint32_t block_size, PrefixCaching caching)
    : block_size_(block_size),
      caching_(caching),
      pool_(num_blocks),
      cache_(num_blocks, block_size),
      is_drafted_(num_blocks) {}

absl::Span<const uint32_t> KvBlocks::BlockTokens(const Sequence& sequence, size_t index) const {
  return absl::MakeConstSpan(sequence.tokens).subspan(index * block_size_, block_size_);
}

void KvBlocks::ExtendHashes(Sequence* sequence) const {
  const size_t full = sequence->tokens.size() / block_size_;
  BlockHash parent = sequence->hashes.empty() ? RootBlockHash(sequence->cache_salt) : sequence->hashes.back();
  while (sequence->hashes.size() < full) {
    const absl::Span<const uint32_t> tokens = BlockTokens(*sequence, sequence->hashes.size());
    parent = NextBlockHash(parent, {tokens.data(), tokens.size()});
    sequence->hashes.push_back(parent);
  }
}

std::vector<BlockId> KvBlocks::Match(Sequence* sequence) const {
  std::vector<BlockId> matched;
  if (caching_ == PrefixCaching::kOff) return matched;
  ExtendHashes(sequence);
  if (sequence->NeedsPromptLogits()) return matched;
  const size_t limit = (sequence->tokens.size() - 1) / block_size_;  // the last token is always computed
  BlockId parent = kNoBlock;
  while (matched.size() < limit) {
    const size_t index = matched.size();
    const std::optional<BlockId> block =
        cache_.Find({sequence->hashes[index], parent, sequence->cache_salt}, BlockTokens(*sequence, index));
    if (!block.has_value()) break;
    matched.push_back(*block);
    parent = *block;
  }
  return matched;
}

bool KvBlocks::Begin(Sequence* sequence, uint32_t reserve) {
  assert(sequence->blocks.empty() && sequence->num_computed == 0);
  const std::vector<BlockId> matched = Match(sequence);
  const size_t needed = (sequence->tokens.size() + block_size_ - 1) / block_size_;
  const auto revived =
      std::count_if(matched.begin(), matched.end(), [this](BlockId block) { return pool_.references(block) == 0; });
  if (needed - matched.size() + static_cast<size_t>(revived) + reserve > pool_.num_free()) return false;
  for (BlockId block : matched) pool_.AddReference(block);
  sequence->blocks = matched;
  while (sequence->blocks.size() < needed) sequence->blocks.push_back(AllocateForgetting());
  sequence->num_shareable = static_cast<uint32_t>(matched.size());
  sequence->num_computed = sequence->num_shareable * block_size_;
  return true;
}

bool KvBlocks::Grow(Sequence* sequence) {
  if (sequence->blocks.size() * block_size_ >= sequence->tokens.size()) return true;
  if (pool_.num_free() == 0) return false;
  sequence->blocks.push_back(AllocateForgetting());
  return true;
}

BlockId KvBlocks::AllocateForgetting() {
  const std::optional<BlockId> block = pool_.Allocate();
  assert(block.has_value());
  cache_.Erase(*block);
  is_drafted_[*block] = false;
  return *block;
}

void KvBlocks::Share(Sequence* sequence) {
  if (caching_ == PrefixCaching::kOff) return;
  ExtendHashes(sequence);
  while (!sequence->unshareable && (sequence->num_shareable + 1) * block_size_ <= sequence->num_computed) {
    const uint32_t index = sequence->num_shareable;
    const BlockId own = sequence->blocks[index];
    const BlockId parent = index == 0 ? kNoBlock : sequence->blocks[index - 1];
    const std::optional<BlockId> shared =
        cache_.Insert({sequence->hashes[index], parent, sequence->cache_salt}, BlockTokens(*sequence, index), own);
    if (!shared.has_value()) {
      sequence->unshareable = true;
      return;
    }
    if (*shared != own) {
      pool_.AddReference(*shared);
      pool_.Release(own, BlockContent::kUseless);
      sequence->blocks[index] = *shared;
      if (!is_drafted_[*shared]) {
        sequence->speculation.num_drafted = std::min(sequence->speculation.num_drafted, index * block_size_);
      }
    }
    ++sequence->num_shareable;
  }
}

void KvBlocks::End(Sequence* sequence) {
  // Last to first, so that a prefix is never evicted before what follows it.
  for (auto block = sequence->blocks.rbegin(); block != sequence->blocks.rend(); ++block) {
    pool_.Release(*block, cache_.Holds(*block) ? BlockContent::kCached : BlockContent::kUseless);
  }
  sequence->blocks.clear();
  sequence->num_computed = 0;
  sequence->num_shareable = 0;
  sequence->unshareable = false;
  sequence->speculation.num_drafted = 0;
}

uint32_t KvBlocks::GrowForGuesses(Sequence* sequence, uint32_t wanted) {
  const size_t num_tokens = sequence->tokens.size();
  while (sequence->blocks.size() * block_size_ < num_tokens + wanted && pool_.num_free() > 0) {
    sequence->blocks.push_back(AllocateForgetting());
  }
  return static_cast<uint32_t>(std::min<size_t>(wanted, sequence->blocks.size() * block_size_ - num_tokens));
}

void KvBlocks::Trim(Sequence* sequence) {
  const size_t needed = (sequence->tokens.size() + block_size_ - 1) / block_size_;
  for (; sequence->blocks.size() > needed; sequence->blocks.pop_back()) {
    pool_.Release(sequence->blocks.back(), BlockContent::kUseless);
  }
}

void KvBlocks::NoteDrafted(Sequence* sequence, uint32_t num_tokens) {
  uint32_t& drafted = sequence->speculation.num_drafted;
  for (uint32_t index = drafted / block_size_; index < num_tokens / block_size_; ++index) {
    is_drafted_[sequence->blocks[index]] = true;
  }
  drafted = num_tokens;
}

void KvBlocks::KeepDrafted(Sequence* sequence) {
  const uint32_t last = sequence->num_tokens() - 1;
  const SpeculationState& speculation = sequence->speculation;
  if (speculation.num_drafted == last && last < speculation.num_written) NoteDrafted(sequence, last + 1);
}

void KvBlocks::FindDrafted(Sequence* sequence) const {
  uint32_t& drafted = sequence->speculation.num_drafted;
  for (uint32_t index = drafted / block_size_; index < sequence->num_shareable; ++index) {
    if (!is_drafted_[sequence->blocks[index]]) break;
    drafted = (index + 1) * block_size_;
  }
}

bool KvBlocks::IsBeingComputed(Sequence* waiting, absl::Span<Sequence* const> running) const {
  if (caching_ == PrefixCaching::kOff || waiting->NeedsPromptLogits()) return false;
  const size_t missing = Match(waiting).size();
  if ((missing + 1) * block_size_ >= waiting->tokens.size()) return false;  // a block that is never read from the cache
  return std::any_of(running.begin(), running.end(), [&](const Sequence* busy) {
    return !busy->unshareable && busy->num_shareable <= missing && missing < busy->hashes.size() &&
           busy->hashes[missing] == waiting->hashes[missing];
  });
}

}  // namespace slmmesh
