#include "kernels/cpu/rope.h"

#include <cstring>

#include "kernels/cpu/bfloat16.h"
#include "kernels/cpu/kv_layout.h"

namespace slmmesh::kernels {
namespace {

void Rotate(const float* cos, const float* sin, int64_t rotary_dim, float* head) {
  const int64_t half = rotary_dim / 2;
  for (int64_t i = 0; i < half; ++i) {
    const float a = head[i], b = head[i + half];
    head[i] = a * cos[i] - b * sin[i];
    head[i + half] = b * cos[i] + a * sin[i];
  }
}

void StoreKey(const float* key, int64_t head_dim, int64_t lane, float* chunk) {
  for (int64_t d = 0; d < head_dim; ++d) chunk[d * kAttentionChunk + lane] = key[d];
}

void StoreKey(const float* key, int64_t head_dim, int64_t lane, BFloat16* chunk) {
  for (int64_t d = 0; d < head_dim; d += 2) {
    BFloat16* pair = chunk + d * kAttentionChunk + lane * 2;
    pair[0] = FloatToBf16(key[d]);
    pair[1] = FloatToBf16(key[d + 1]);
  }
}

void StoreValue(const float* value, int64_t head_dim, float* out) { std::memcpy(out, value, head_dim * sizeof(float)); }

void StoreValue(const float* value, int64_t head_dim, BFloat16* out) {
  for (int64_t d = 0; d < head_dim; ++d) out[d] = FloatToBf16(value[d]);
}

template <typename Element>
void Store(const KvCache& cache, int64_t block, int64_t head, int64_t slot, const float* key, const float* value) {
  const KvLayout layout = {cache.block_size, cache.num_kv_heads, cache.head_dim};
  Element* base = static_cast<Element*>(cache.base);
  const int64_t lane = slot % kAttentionChunk;
  StoreKey(key, cache.head_dim, lane, base + layout.KeyChunk(block, head, slot - lane));
  StoreValue(value, cache.head_dim, base + layout.Value(block, head, slot));
}

}  // namespace

void RopeStoreToken(const RopeStoreArgs& args, const KernelTable& kernels, int64_t sequence, int64_t token) {
  const KvCache& cache = args.cache;
  const int64_t head_dim = cache.head_dim;
  const int64_t position = args.sequences.positions[token];
  const float* cos = args.cos + position * (args.rotary_dim / 2);
  const float* sin = args.sin + position * (args.rotary_dim / 2);
  float* q = args.qkv + token * (args.num_q_heads + 2 * cache.num_kv_heads) * head_dim;
  float* k = q + args.num_q_heads * head_dim;
  const float* v = k + cache.num_kv_heads * head_dim;
  const auto norm_and_rotate = [&](float* head, const float* norm) {
    if (norm != nullptr) kernels.rms_norm(head, norm, args.norm_epsilon, head_dim, head);
    Rotate(cos, sin, args.rotary_dim, head);
  };
  for (int64_t h = 0; h < args.num_q_heads; ++h) norm_and_rotate(q + h * head_dim, args.q_norm);
  const uint32_t* blocks = args.sequences.block_table + args.sequences.block_start[sequence];
  const int64_t block = cache.num_kv_heads == 0 ? 0 : blocks[position / cache.block_size];
  const int64_t slot = position % cache.block_size;
  for (int64_t h = 0; h < cache.num_kv_heads; ++h) {
    norm_and_rotate(k + h * head_dim, args.k_norm);
    if (cache.type == KvType::kFloat32) {
      Store<float>(cache, block, h, slot, k + h * head_dim, v + h * head_dim);
    } else {
      Store<BFloat16>(cache, block, h, slot, k + h * head_dim, v + h * head_dim);
    }
  }
}

}  // namespace slmmesh::kernels
