// What one instruction set provides: single-threaded kernels behind plain function pointers. Everything else (splitting
// work, packing, the order of leaves, paging) is shared code that is compiled once, without instruction-set flags.
#pragma once

#include <cstdint>

#include "kernels/backend.h"

namespace slmmesh::kernels {

constexpr int kTileRows = 6;  // rows of x per call of a tile kernel: 6 x 64 sums fill the registers of AVX-512

// sums[rows, 64] (+)= x[rows, k] * one panel's weights[k, 64], each sum one chain in ascending k.
struct TileArgs {
  const void* x;         // [k][rows] fp32 or [k / 2][rows][2] bf16, as the pack_rows beside the kernel wrote it
  const void* weights;   // [k][64] fp32 or [k / 2][64][2] bf16
  int64_t k;             // even
  float* sums;           // [rows][64], 64-byte aligned
  bool resume;           // continue from `sums` (else from zero)
  const char* prefetch;  // weights that will be wanted next: `prefetch_lines` cache lines per 256 bytes of weights
  int prefetch_lines;    // 0, 1, 2 or 4
};
using TileFunction = void (*)(const TileArgs& args);

struct MatMulKernels {
  int64_t activation_bytes;  // of one packed element of x
  // Packs `rows` <= kTileRows rows of x for the tile kernel of that many rows.
  void (*pack_rows)(const float* x, int64_t x_stride, int64_t rows, int64_t k, void* packed);
  TileFunction tile[kTileRows];  // tile[r - 1] takes r rows
};

// A row is one query head of one token: row r of a sequence is token r / group, head r % group of the KV head's group.
constexpr int64_t kAttentionRows = 32;  // at most, per task
struct AttentionTask {
  const AttentionArgs* args;
  int64_t sequence;
  int64_t kv_head;
  int64_t row_begin, row_end;
};

struct KernelTable {
  Isa isa;
  MatMulKernels matmul[2];  // by WeightType
  void (*rms_norm)(const float* x, const float* weight, float epsilon, int64_t h, float* y);
  void (*add_rms_norm)(float* residual, const float* delta, const float* weight, float epsilon, int64_t h, float* y);
  void (*silu_mul)(const float* gate, const float* up, int64_t count, float* y);
  void (*attention[2])(const AttentionTask& task);  // by KvType
};

const KernelTable& ReferenceKernels();
const KernelTable& Avx2Kernels();
const KernelTable& Avx512Kernels();
const KernelTable& Avx512Bf16Kernels();
const KernelTable& KernelsFor(Isa isa);  // one that SupportedIsas() names

}  // namespace slmmesh::kernels
