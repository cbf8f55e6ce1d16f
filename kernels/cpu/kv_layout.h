// Where a KV head's keys and values lie within a cache. Per block and KV head: all keys of the block, then all values.
//   keys    bf16 [block_size / 16][head_dim / 2][16][2], fp32 [block_size / 16][head_dim][16]: the scores of a chunk
//           of 16 positions grow lane by lane, without sums across lanes
//   values  [block_size][head_dim rounded up to 16]: whole vectors; the columns beyond head_dim are never read out
#pragma once

#include <cstdint>

#include "kernels/backend.h"

namespace slmmesh::kernels {

struct KvLayout {
  int64_t block_size, num_kv_heads, head_dim;

  int64_t value_stride() const { return (head_dim + 15) / 16 * 16; }
  int64_t keys() const { return block_size * head_dim; }
  int64_t head_elements() const { return keys() + block_size * value_stride(); }  // of one block and KV head
  int64_t block_elements() const { return num_kv_heads * head_elements(); }

  // Element offset from the start of the cache of the chunk's keys, `slot` a multiple of 16.
  int64_t KeyChunk(int64_t block, int64_t head, int64_t slot) const {
    return block * block_elements() + head * head_elements() + slot * head_dim;
  }
  int64_t Value(int64_t block, int64_t head, int64_t slot) const {
    return block * block_elements() + head * head_elements() + keys() + slot * value_stride();
  }
};

}  // namespace slmmesh::kernels
