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

// The same for integer weights (weight_format.h defines the result to the bit).
struct IntegerTileArgs {
  const WeightFormat* format;
  const int8_t* x;        // [k / 4][rows][4]
  const int32_t* x_sums;  // [groups][rows] sums of x over each group; without groups [rows], over the leaf
  const float* x_scales;  // [rows] where the leaf ends with this call: its value is wanted; else null
  const char* weights;    // the first group with its scales; without groups the quants of the first k
  const char* scales;     // without groups: the panel's
  int64_t k;              // whole groups
  float* sums;            // [rows][64]; without groups they are int32 until the leaf ends
  bool resume;
  const char* prefetch;
  int prefetch_lines;  // as in TileArgs
};
using IntegerTileFunction = void (*)(const IntegerTileArgs& args);

struct IntegerTiles {
  int tile_rows;                        // at most: kTileRows
  IntegerTileFunction tile[kTileRows];  // tile[r - 1] takes r rows
};

struct IntegerKernels {
  // One row and leaf: x8[count], the sums of its groups of `group`, and a / 127.
  float (*quantize)(const float* x, int64_t count, int64_t group, int8_t* x8, int32_t* sums);
  IntegerTiles int8_per_row;  // one scale a row
  IntegerTiles int8_groups;
  IntegerTiles int4_groups;
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
  MatMulKernels matmul[2];  // by WeightType, of the float types
  IntegerKernels integer;
  void (*rms_norm)(const float* x, const float* weight, float epsilon, int64_t h, float* y);
  void (*add_rms_norm)(float* residual, const float* delta, const float* weight, float epsilon, int64_t h, float* y);
  void (*silu_mul)(const float* gate, const float* up, int64_t count, float* y);
  void (*attention[2])(const AttentionTask& task);  // by KvType
};

const KernelTable& ReferenceKernels();
const KernelTable& Avx2Kernels();
const KernelTable& AvxVnniKernels();
const KernelTable& Avx512Kernels();
const KernelTable& Avx512VnniKernels();
const KernelTable& Avx512Bf16Kernels();
const IntegerKernels& ReferenceIntegerKernels();
const IntegerKernels& Avx2IntegerKernels();
const IntegerKernels& AvxVnniIntegerKernels();
const IntegerKernels& Avx512VnniIntegerKernels();
const KernelTable& KernelsFor(Isa isa);  // one that SupportedIsas() names

}  // namespace slmmesh::kernels
