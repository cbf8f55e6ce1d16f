#include "worker/engine/block_pool.h"

#include <cassert>

namespace slmmesh {

BlockPool::BlockPool(uint32_t num_blocks) : blocks_(num_blocks + 1) {
  blocks_[anchor()].previous = blocks_[anchor()].next = anchor();
  for (BlockId block = 0; block < num_blocks; ++block) Link(block, anchor());
}

std::optional<BlockId> BlockPool::Allocate() {
  if (num_free_ == 0) return std::nullopt;
  const BlockId block = blocks_[anchor()].next;
  AddReference(block);
  return block;
}

void BlockPool::AddReference(BlockId block) {
  assert(block < size());
  if (blocks_[block].references++ == 0) Unlink(block);
}

void BlockPool::Release(BlockId block, BlockContent content) {
  assert(block < size() && blocks_[block].references > 0);
  if (--blocks_[block].references > 0) return;
  Link(block, content == BlockContent::kCached ? anchor() : blocks_[anchor()].next);
}

void BlockPool::Link(BlockId block, BlockId before) {
  const BlockId previous = blocks_[before].previous;
  blocks_[block].previous = previous;
  blocks_[block].next = before;
  blocks_[previous].next = block;
  blocks_[before].previous = block;
  ++num_free_;
}

void BlockPool::Unlink(BlockId block) {
  blocks_[blocks_[block].previous].next = blocks_[block].next;
  blocks_[blocks_[block].next].previous = blocks_[block].previous;
  --num_free_;
}

}  // namespace slmmesh
