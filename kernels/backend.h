// The boundary of the kernels: pointers, sizes, a backend that owns memory and a stream of work. No domain objects,
// no Status, no allocation in a step. A backend is created once per process; the CPU backend picks its instruction
// set at run time and owns a pool of threads. A CUDA backend implements the same class over a CUDA stream.
//
// Rules that every implementation keeps (DESIGN.md, "Numbers never depend on company"):
//  - An output row depends on its own input row alone: the same bits whatever M is, whatever shares the call.
//  - A sum runs in one fixed order chosen by the weights' shape: ascending k within a leaf, leaves joined by halving.
//  - Rows of attention depend on their own query and the visible keys alone, in fixed steps and spans of positions
//    aligned to position 0, whatever the chunking of the prompt, the KV block size or the threads.
// Errors: arguments that break a stated bound are bugs and abort.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/weight_format.h"

namespace slmmesh::kernels {

enum class KvType : uint8_t { kFloat32, kBFloat16, kInt8 };  // int8: one fp32 scale per position and KV head
enum class Isa : uint8_t {
  kReference,
  kAvx2,
  kAvxVnni,
  kAvx512,
  kAvx512Vnni,
  kAvx512Bf16,
  kAmx,
  kNeon,
  kNeonDotprod,
  kNeonI8mm
};
const char* IsaName(Isa isa);
std::vector<Isa> SupportedIsas();  // on this machine, slowest first

constexpr int64_t kPanelColumns = 64;    // output columns per packed panel
constexpr int64_t kAttentionChunk = 16;  // positions; KV block sizes are multiples of it
constexpr int64_t kAlignment = 64;       // bytes, of every buffer handed to a kernel

// How the rows of a product's x come to be. What is not there yet is made row by row just before the row is packed for
// the product, and written to `rows`: the threads meet once less, and the row is still in the cache.
struct RowSource {
  enum class Kind : uint8_t { kThere, kRmsNorm, kSiluMul };
  Kind kind = Kind::kThere;
  float* rows = nullptr;  // [m, k]: MatMulArgs' x, with an x_stride of k

  // kRmsNorm: residual[m, k] += delta where that is not null; row = residual / sqrt(mean(residual^2) + epsilon) *
  // weight
  float* residual = nullptr;
  const float* delta = nullptr;
  const float* weight = nullptr;
  float epsilon = 0.0f;

  const float* gate_up = nullptr;  // kSiluMul: [m, 2 * k], gate, then up; row = silu(gate) * up
};

// y[M, N] = sum over leaves (x[M, leaf] · W[N, leaf]^T) (+ bias[N]).
struct MatMulArgs {
  const float* x;  // [m, k], row stride x_stride floats
  int64_t x_stride;
  const void* weights;  // packed, PackedBytes(format, n, k)
  WeightFormat format;
  const float* bias;  // [n] or null; added last
  float* y;           // [m, n], row stride y_stride floats
  int64_t y_stride;
  int64_t m, n, k;
  // Leaf l covers k in [leaf_start[l], leaf_start[l + 1]); starts are even (of integer formats as weight_format.h
  // says), ascending from 0 to k. Each leaf is one ascending fp32 chain per output element; the leaves are summed by
  // halving: sum(lo, hi) = sum(lo, mid) + sum(mid, hi), mid = (lo + hi) / 2; an empty leaf is absent (not a zero).
  // num_leaves is a power of two, at most 8.
  const int64_t* leaf_start;
  int num_leaves;
  RowSource source = {};
};

// A paged KV cache of one layer, opaque but for its size. Position p of a sequence lies in block
// block_table[p / block_size], slot p % block_size.
struct KvCache {
  void* base;  // of block 0; the others follow block_stride bytes apart
  KvType type;
  int64_t num_blocks;
  int64_t block_size;  // a multiple of kAttentionChunk
  int64_t num_kv_heads;
  int64_t head_dim;          // even, at most 256
  int64_t block_stride = 0;  // 0: KvBlockBytes, one behind the other
};

// Sequences of one step over a paged cache. T tokens in all, flattened; sequence s owns rows
// [query_start[s], query_start[s + 1]) and the blocks block_table[block_start[s] … block_start[s + 1]).
struct SequenceLayout {
  int64_t num_sequences;
  int64_t num_tokens;           // T
  const uint32_t* query_start;  // [num_sequences + 1]
  const uint32_t* block_table;
  const uint32_t* block_start;  // [num_sequences + 1]
  const uint32_t* positions;    // [T], consecutive within a sequence
};

// Rotates q and k in place (pairs (i, i + rotary_dim / 2), as Hugging Face's Llama does) and writes k and v into the
// cache at their positions.
struct RopeStoreArgs {
  float* qkv;  // [T, (num_q_heads + 2 * num_kv_heads) * head_dim]: q, then k, then v
  int64_t num_q_heads;
  int64_t rotary_dim;  // even, <= head_dim
  const float* cos;    // [max_position, rotary_dim / 2]
  const float* sin;
  const float* q_norm;  // [head_dim] RMS norm per head before rotation (Qwen3), or null
  const float* k_norm;
  float norm_epsilon;
  SequenceLayout sequences;
  KvCache cache;
};

// out[T, num_q_heads * head_dim] = softmax(q k^T * scale, causal, window) v, grouped queries: query head h reads KV
// head h / (num_q_heads / num_kv_heads).
struct AttentionArgs {
  const float* qkv;  // q as rotated by RopeStore, same layout
  int64_t num_q_heads;
  float scale;
  int64_t sliding_window;  // keys visible to a query: the last `sliding_window` with itself; 0: all
  SequenceLayout sequences;
  KvCache cache;
  float* out;  // [T, num_q_heads * head_dim]
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string Describe() const = 0;  // "cpu avx512bf16, 2 threads"

  // Zeroed memory, aligned to kAlignment; large allocations ask for huge pages. Null when there is none.
  virtual void* Allocate(size_t bytes) = 0;
  virtual void Free(void* pointer) = 0;
  // Has the memory of a part of a buffer there before it is used, and changes nothing in it. Thread-safe.
  virtual void Populate(void* pointer, size_t bytes) = 0;

  virtual size_t PackedBytes(const WeightFormat& format, int64_t n, int64_t k) const = 0;
  // Packs rows [panel * 64, panel * 64 + rows) of a weight matrix into `packed` (the start of the whole matrix).
  // `rows_f32` is [rows, k] row-major, rows <= 64; missing columns of the last panel are packed as zeros. k is even.
  // Rounds to nearest even for bf16 (exact when the source was bf16). Thread-safe for different panels.
  virtual void PackPanel(WeightType type, const float* rows_f32, int64_t rows, int64_t panel, int64_t k,
                         void* packed) const = 0;
  // The same for integer formats: rows [panel * 64, panel * 64 + rows.rows), scales as they are.
  virtual void PackPanel(const WeightFormat& format, const QuantizedRows& rows, int64_t panel, int64_t k,
                         void* packed) const = 0;

  virtual size_t KvBlockBytes(KvType type, int64_t block_size, int64_t num_kv_heads, int64_t head_dim) const = 0;

  virtual void MatMul(const MatMulArgs& args) = 0;
  // a[count] += b: joins two ranks' partial sums. The same bits on every instruction set.
  virtual void Add(float* a, const float* b, int64_t count) = 0;
  virtual void RopeStore(const RopeStoreArgs& args) = 0;
  virtual void Attention(const AttentionArgs& args) = 0;
};

struct CpuOptions {
  int threads = 0;            // 0: all that this process may run on
  bool automatic_isa = true;  // else `isa`
  Isa isa = Isa::kReference;
};
// Null when the machine lacks the instruction set asked for.
std::unique_ptr<Backend> CreateCpuBackend(const CpuOptions& options);

}  // namespace slmmesh::kernels
