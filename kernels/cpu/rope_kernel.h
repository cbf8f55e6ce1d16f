// RopeStore of one token, written once over an instruction set's Vec16; the loops without it are for the compiler to
// vectorize. The same bits on every instruction set.
#pragma once

#include <cstdint>

#include "kernels/cpu/attention_task.h"
#include "kernels/cpu/kv_layout.h"
#include "kernels/cpu/row_kernels.h"

namespace slmmesh::kernels {

template <typename Vec16>
class RopeKernel {
 public:
  // Row `token` of sequence `sequence`. Positions 2 i and 2 i + 1 share words: not two threads at once.
  static void RopeStore(const RopeStoreArgs& args, int64_t sequence, int64_t token) {
    const KvCache& cache = args.cache;
    const KvLayout layout(cache);
    const int64_t head_dim = cache.head_dim, position = args.sequences.positions[token];
    const float* cos = args.cos + position * (args.rotary_dim / 2);
    const float* sin = args.sin + position * (args.rotary_dim / 2);
    float* q = args.qkv + token * (args.num_q_heads + 2 * cache.num_kv_heads) * head_dim;
    float* k = q + args.num_q_heads * head_dim;
    const float* v = k + cache.num_kv_heads * head_dim;
    for (int64_t h = 0; h < args.num_q_heads + cache.num_kv_heads; ++h) {
      float* head = q + h * head_dim;
      const float* norm = h < args.num_q_heads ? args.q_norm : args.k_norm;
      if (norm != nullptr) RowKernels<Vec16>::RmsNorm(head, norm, args.norm_epsilon, head_dim, head);
      RowKernels<Vec16>::Rotate(cos, sin, args.rotary_dim / 2, head);
    }
    if (cache.num_kv_heads == 0) return;
    const uint32_t* blocks = args.sequences.block_table + args.sequences.block_start[sequence];
    const int64_t block = blocks[position / cache.block_size], slot = position % cache.block_size;
    for (int64_t h = 0; h < cache.num_kv_heads; ++h) {
      Store(layout, block, h, slot, k + h * head_dim, v + h * head_dim, static_cast<char*>(cache.base));
    }
  }

 private:
  static void Store(const KvLayout& layout, int64_t block, int64_t head, int64_t slot, const float* key,
                    const float* value, char* base) {
    const int64_t lane = slot % kAttentionChunk, chunk = slot - lane;
    char* keys = base + layout.KeyChunk(block, head, chunk);
    char* values = base + layout.ValueChunk(block, head, chunk);
    switch (layout.type) {
      case KvType::kFloat32:
        for (int64_t d = 0; d < layout.head_dim; ++d) Write(keys + (d * kAttentionChunk + lane) * 4, key[d]);
        __builtin_memcpy(values + lane * layout.value_stride() * 4, value, layout.head_dim * sizeof(float));
        return;
      case KvType::kBFloat16:
        return StoreBf16(layout, lane, key, value, keys, values);
      case KvType::kInt8: {
        int8_t integers[kMaxHeadDim];
        const float key_scale = Quantize(key, layout.head_dim, integers);
        for (int64_t d = 0; d < layout.head_dim; ++d) keys[layout.KeyElement(lane, d)] = integers[d];
        Write(base + layout.KeyScales(block, head, chunk) + lane * 4, key_scale);
        const float value_scale = Quantize(value, layout.head_dim, integers);
        for (int64_t d = 0; d < layout.head_dim; ++d) values[layout.ValueElement(lane, d)] = integers[d];
        Write(base + layout.ValueScales(block, head, chunk) + lane * 4, value_scale);
        return;
      }
    }
  }

  // A pair of bf16 is a word of the cache: two elements of one key, or one element of the values of two positions.
  static void StoreBf16(const KvLayout& layout, int64_t lane, const float* key, const float* value, char* keys,
                        char* values) {
    uint32_t rounded[kMaxHeadDim];
    Round(key, layout.head_dim, rounded);
    keys += lane * 4;
    for (int64_t d = 0; d < layout.head_dim; d += 2, keys += kAttentionChunk * 4) {
      uint64_t pair;
      __builtin_memcpy(&pair, rounded + d, sizeof(pair));
      Write(keys, static_cast<uint32_t>(pair >> 16 | pair >> 32));
    }
    Round(value, layout.head_dim, rounded);
    const bool is_first = lane % 2 == 0;
    const uint32_t other = is_first ? 0xffff0000u : 0xffffu;
    const int shift = is_first ? 16 : 0;
    values += lane / 2 * layout.value_stride() * 4;
    for (int64_t d = 0; d < layout.head_dim; ++d) {
      uint32_t pair;
      __builtin_memcpy(&pair, values + d * 4, sizeof(pair));
      Write(values + d * 4, (pair & other) | rounded[d] >> shift);
    }
  }

  template <typename T>
  static void Write(char* p, T value) {
    __builtin_memcpy(p, &value, sizeof(value));
  }

  // To bf16 as FloatToBf16 does, in the upper half of a word.
  static void Round(const float* x, int64_t count, uint32_t* out) {
    for (int64_t i = 0; i < count; ++i) {
      uint32_t bits;
      __builtin_memcpy(&bits, x + i, sizeof(bits));
      const uint32_t rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
      const bool is_nan = static_cast<int32_t>(bits & 0x7fffffffu) > 0x7f800000;
      out[i] = (is_nan ? bits | 0x400000u : rounded) & 0xffff0000u;
    }
  }

  // Rounds to nearest even in steps of the returned scale, the largest magnitude to 127. What is not finite makes the
  // scale NaN, so that nobody reads a number there.
  static float Quantize(const float* values, int64_t count, int8_t* out) {
    float maximum = 0.0f, sum = 0.0f;
    for (int64_t i = 0; i < count; ++i) {
      const float magnitude = __builtin_fabsf(values[i]);
      maximum = maximum < magnitude ? magnitude : maximum;
      sum += values[i] - values[i];  // NaN once a value is not finite
    }
    // Below, 127 / maximum would overflow.
    const float inverse = sum == 0.0f && maximum >= 0x1p-120f ? 127.0f / maximum : 0.0f;
    for (int64_t i = 0; i < count; ++i) {
      // Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits.
      const float shifted = (inverse == 0.0f ? 0.0f : values[i] * inverse) + 12582912.0f;
      uint32_t bits;
      __builtin_memcpy(&bits, &shifted, sizeof(bits));
      out[i] = static_cast<int8_t>(bits);
    }
    if (sum != 0.0f) return sum;
    return inverse == 0.0f ? 0.0f : maximum / 127.0f;
  }
};

}  // namespace slmmesh::kernels
