#include "kernels/cpu/rope.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "kernels/cpu/attention_task.h"
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

// head_dim numbers as a cache holds them: fp32 and bf16 as they are, int8 times a scale.
void StoreKey(const KvLayout& layout, const float* key, int64_t lane, float* chunk) {
  for (int64_t d = 0; d < layout.head_dim; ++d) chunk[d * kAttentionChunk + lane] = key[d];
}

template <typename Element>
void StoreKey(const KvLayout& layout, const Element* key, int64_t lane, Element* chunk) {
  for (int64_t d = 0; d < layout.head_dim; d += 2) {
    Element* pair = chunk + (d / 2 * kAttentionChunk + lane) * 2;
    pair[0] = key[d];
    pair[1] = key[d + 1];
  }
}

void StoreValue(const KvLayout& layout, const float* value, int64_t lane, float* chunk) {
  std::memcpy(chunk + lane * layout.value_stride(), value, layout.head_dim * sizeof(float));
}

template <typename Element>
void StoreValue(const KvLayout& layout, const Element* value, int64_t lane, Element* chunk) {
  Element* pairs = chunk + lane / 2 * layout.value_stride() * 2 + lane % 2;
  for (int64_t d = 0; d < layout.head_dim; ++d) pairs[d * 2] = value[d];
}

// Rounds to nearest even in steps of the returned scale, the largest magnitude to 127. What is not finite makes the
// scale NaN, so that nobody reads a number there.
float Quantize(const float* values, int64_t count, int8_t* out) {
  float maximum = 0.0f, sum = 0.0f;
  for (int64_t i = 0; i < count; ++i) {
    maximum = std::max(maximum, std::fabs(values[i]));
    sum += values[i] - values[i];  // NaN once a value is not finite
  }
  // Below, 127 / maximum would overflow.
  const float inverse = sum == 0.0f && maximum >= 0x1p-120f ? 127.0f / maximum : 0.0f;
  for (int64_t i = 0; i < count; ++i) {
    // Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits.
    const float shifted = (inverse == 0.0f ? 0.0f : values[i] * inverse) + 12582912.0f;
    out[i] = static_cast<int8_t>(std::bit_cast<uint32_t>(shifted));
  }
  if (sum != 0.0f) return sum;
  return inverse == 0.0f ? 0.0f : maximum / 127.0f;
}

void StoreInt8(const KvLayout& layout, int64_t block, int64_t head, int64_t slot, const float* key, const float* value,
               char* base) {
  int8_t integers[kMaxHeadDim];
  const int64_t lane = slot % kAttentionChunk, chunk = slot - lane;
  const float key_scale = Quantize(key, layout.head_dim, integers);
  StoreKey(layout, integers, lane, reinterpret_cast<int8_t*>(base + layout.KeyChunk(block, head, chunk)));
  reinterpret_cast<float*>(base + layout.KeyScales(block, head, chunk))[lane] = key_scale;
  const float value_scale = Quantize(value, layout.head_dim, integers);
  StoreValue(layout, integers, lane, reinterpret_cast<int8_t*>(base + layout.ValueChunk(block, head, chunk)));
  reinterpret_cast<float*>(base + layout.ValueScales(block, head, chunk))[lane] = value_scale;
}

void Store(const KvLayout& layout, int64_t block, int64_t head, int64_t slot, const float* key, const float* value,
           char* base) {
  const int64_t lane = slot % kAttentionChunk, chunk = slot - lane;
  char* keys = base + layout.KeyChunk(block, head, chunk);
  char* values = base + layout.ValueChunk(block, head, chunk);
  switch (layout.type) {
    case KvType::kFloat32:
      StoreKey(layout, key, lane, reinterpret_cast<float*>(keys));
      StoreValue(layout, value, lane, reinterpret_cast<float*>(values));
      return;
    case KvType::kBFloat16: {
      BFloat16 rounded[kMaxHeadDim];
      for (int64_t d = 0; d < layout.head_dim; ++d) rounded[d] = FloatToBf16(key[d]);
      StoreKey(layout, rounded, lane, reinterpret_cast<BFloat16*>(keys));
      for (int64_t d = 0; d < layout.head_dim; ++d) rounded[d] = FloatToBf16(value[d]);
      StoreValue(layout, rounded, lane, reinterpret_cast<BFloat16*>(values));
      return;
    }
    case KvType::kInt8:
      StoreInt8(layout, block, head, slot, key, value, base);
      return;
  }
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
  const KvLayout layout(cache);
  for (int64_t h = 0; h < cache.num_kv_heads; ++h) {
    norm_and_rotate(k + h * head_dim, args.k_norm);
    Store(layout, block, h, slot, k + h * head_dim, v + h * head_dim, static_cast<char*>(cache.base));
  }
}

}  // namespace slmmesh::kernels
