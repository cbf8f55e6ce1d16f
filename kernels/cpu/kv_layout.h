// Where a KV head's keys and values lie within a cache. Per block and KV head: all keys of the block, then all values,
// then (int8 alone) one fp32 scale per key and one per value.
//   keys    fp32 [block_size / 16][head_dim][16], else [block_size / 16][head_dim / 2][16][2]: the scores of a chunk of
//           16 positions grow lane by lane, without sums across lanes
//   values  fp32 [block_size][stride], else [block_size / 2][stride][2], stride = head_dim rounded up to 16: whole
//           vectors of columns, pairs of positions; the columns beyond head_dim are never read out
// An int8 element times its position's scale is the number that it stands for.
#pragma once

#include <cstdint>

#include "kernels/backend.h"

namespace slmmesh::kernels {

struct KvLayout {
  KvType type;
  int64_t block_size, num_kv_heads, head_dim;
  int64_t block_stride;

  explicit KvLayout(const KvCache& cache) : KvLayout(cache.type, cache.block_size, cache.num_kv_heads, cache.head_dim) {
    if (cache.block_stride != 0) block_stride = cache.block_stride;
  }
  KvLayout(KvType type, int64_t block_size, int64_t num_kv_heads, int64_t head_dim)
      : type(type),
        block_size(block_size),
        num_kv_heads(num_kv_heads),
        head_dim(head_dim),
        block_stride(block_bytes()) {}

  int64_t element_bytes() const { return type == KvType::kFloat32 ? 4 : type == KvType::kBFloat16 ? 2 : 1; }
  int64_t value_stride() const { return (head_dim + 15) / 16 * 16; }
  int64_t key_bytes() const { return block_size * head_dim * element_bytes(); }
  int64_t value_bytes() const { return block_size * value_stride() * element_bytes(); }
  int64_t scale_bytes() const { return type == KvType::kInt8 ? block_size * 2 * int64_t{sizeof(float)} : 0; }
  int64_t head_bytes() const { return key_bytes() + value_bytes() + scale_bytes(); }  // of one block and KV head
  int64_t block_bytes() const { return num_kv_heads * head_bytes(); }

  // Bytes from the start of the cache to what belongs to the chunk that begins at `slot`, a multiple of 16.
  int64_t KeyChunk(int64_t block, int64_t head, int64_t slot) const {
    return block * block_stride + head * head_bytes() + slot * head_dim * element_bytes();
  }
  int64_t ValueChunk(int64_t block, int64_t head, int64_t slot) const {
    return block * block_stride + head * head_bytes() + key_bytes() + slot * value_stride() * element_bytes();
  }
  int64_t KeyScales(int64_t block, int64_t head, int64_t slot) const {
    return block * block_stride + head * head_bytes() + key_bytes() + value_bytes() + slot * int64_t{sizeof(float)};
  }
  int64_t ValueScales(int64_t block, int64_t head, int64_t slot) const {
    return KeyScales(block, head, slot) + block_size * int64_t{sizeof(float)};
  }

  // Element within a chunk, of position `lane` and dimension `d`.
  int64_t KeyElement(int64_t lane, int64_t d) const {
    return type == KvType::kFloat32 ? d * kAttentionChunk + lane : (d / 2 * kAttentionChunk + lane) * 2 + d % 2;
  }
  int64_t ValueElement(int64_t lane, int64_t d) const {
    return type == KvType::kFloat32 ? lane * value_stride() + d : (lane / 2 * value_stride() + d) * 2 + lane % 2;
  }
};

}  // namespace slmmesh::kernels
