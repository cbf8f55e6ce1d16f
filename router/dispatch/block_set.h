// The router's picture of one group's prefix cache: the hashes of the blocks that it holds. Bounded; one thread.
#pragma once

#include <cstdint>
#include <span>

#include "absl/container/flat_hash_set.h"
#include "proto/block_hash.h"
#include "slmmesh/v1/worker.pb.h"

namespace slmmesh {

class BlockSet {
 public:
  static constexpr size_t kMaxBlocks = size_t{1} << 20;  // a worker that tells of more is not believed

  void Apply(const v1::BlockEvents& events) {
    if (events.reset()) hashes_.clear();
    for (BlockHash hash : events.evicted()) hashes_.erase(hash);
    for (BlockHash hash : events.stored()) {
      if (hashes_.size() < kMaxBlocks) hashes_.insert(hash);
    }
  }

  // How many leading blocks of a prompt are held.
  uint32_t LongestPrefix(std::span<const BlockHash> prompt) const {
    uint32_t blocks = 0;
    while (blocks < prompt.size() && hashes_.contains(prompt[blocks])) ++blocks;
    return blocks;
  }

  size_t size() const { return hashes_.size(); }

 private:
  absl::flat_hash_set<BlockHash> hashes_;
};

}  // namespace slmmesh
