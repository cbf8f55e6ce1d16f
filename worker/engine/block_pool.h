// The KV blocks as numbers: who holds how many references, and in what order free ones are used again.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace slmmesh {

using BlockId = uint32_t;
constexpr BlockId kNoBlock = UINT32_MAX;

// What a block is worth when nobody refers to it any more.
enum class BlockContent {
  kUseless,  // used again first
  kCached,   // used again last: until then it may be found by its prefix, least recently used first to go
};

// Not thread-safe.
class BlockPool {
 public:
  explicit BlockPool(uint32_t num_blocks);

  // Takes the free block that is used again first, with one reference; empty when all are referenced.
  std::optional<BlockId> Allocate();
  // One more reference; a free block leaves the free list.
  void AddReference(BlockId block);
  // One reference less; the last one frees the block.
  void Release(BlockId block, BlockContent content);

  uint32_t references(BlockId block) const { return blocks_[block].references; }
  uint32_t num_free() const { return num_free_; }
  uint32_t size() const { return static_cast<uint32_t>(blocks_.size()) - 1; }

 private:
  // The free list is a ring through the blocks themselves; the entry after the last block is its head and tail.
  struct Block {
    uint32_t references = 0;
    BlockId previous = 0, next = 0;
  };

  void Link(BlockId block, BlockId before);
  void Unlink(BlockId block);
  BlockId anchor() const { return size(); }

  std::vector<Block> blocks_;  // [num_blocks + 1]
  uint32_t num_free_ = 0;
};

}  // namespace slmmesh
