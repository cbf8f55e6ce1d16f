// What one instruction set provides: single-threaded kernels behind plain function pointers. Everything else (splitting
// work, packing, the order of leaves, paging) is shared code that is compiled once, without instruction-set flags.
#pragma once

#include <cstdint>
#include <memory>

#include "kernels/backend.h"
#include "kernels/cpu/attention_task.h"

namespace slmmesh::kernels {

constexpr int kTreeLevels = 4;  // sums alive at once while 8 leaves are joined
constexpr int kTileRows = 6;    // rows of x per call of a tile kernel: 6 x 64 sums fill the registers of AVX-512
constexpr int kRowsTile = 16;   // a rows kernel is given multiples of about so many

// sums[rows, 64] (+)= x[rows, k] * one panel's weights[k, 64], each sum one chain in ascending k.
struct TileArgs {
  const void* x;         // [rows][k] fp32, or bf16 as the pack_row beside the kernel wrote it
  int64_t x_stride;      // elements of x from one row to the next
  const void* weights;   // [k][64] fp32 or [k / 2][64][2] bf16
  int64_t k;             // even
  float* sums;           // [rows][64], 64-byte aligned
  bool resume;           // continue from `sums` (else from zero)
  const char* prefetch;  // weights that will be wanted next: `prefetch_lines` cache lines per 256 bytes of weights
  int prefetch_lines;    // 0, 1 or 2
};
using TileFunction = void (*)(const TileArgs& args);

// A rows kernel instead of tiles: all rows of a task over one leaf, for units that take more rows at a time; nothing is
// resumed or prefetched.
using RowsFunction = void (*)(const TileArgs& args, int64_t rows);

struct MatMulKernels {
  void (*pack_row)(const float* x, int64_t k, void* packed);  // to bf16; null: x is taken as it is
  TileFunction tile[kTileRows];                               // tile[r - 1] takes r rows
  RowsFunction rows = nullptr;                                // where there is one, tiles are not used
};

// The same for integer weights (weight_format.h defines the result to the bit).
struct IntegerTileArgs {
  const WeightFormat* format;
  const int8_t* x;          // [rows][k], row stride x_stride
  const int32_t* x_sums;    // [rows][k / block] sums of x over each block, row stride x_block_stride
  const int32_t* x_shifts;  // the same: by how much a block's products are shifted left
  const float* x_scales;    // [rows] where the leaf ends with this call: its value is wanted; else null
  int64_t x_stride, x_block_stride;
  const char* weights;  // the first group with its scales; without groups the quants of the first k
  const char* scales;   // without groups: the panel's
  int64_t k;            // whole groups; without groups whole blocks
  float* sums;          // [rows][64]
  bool resume;
  const char* prefetch;  // as in TileArgs; null: only these rows pass over `weights`, which come from memory
  int prefetch_lines;
};
using IntegerTileFunction = void (*)(const IntegerTileArgs& args);

// A rows kernel: all rows of a task over one leaf. It may rearrange the weights once for all of them.
using IntegerRowsFunction = void (*)(const IntegerTileArgs& args, int64_t rows);

struct IntegerTiles {
  int tile_rows;                        // at most: kTileRows
  IntegerTileFunction tile[kTileRows];  // tile[r - 1] takes r rows; above tile_rows `prefetch` is null
  int streamed_rows = 0;                // at most: kTileRows. All rows of a product, if no more, are one tile
};

// One row of x over one leaf: [count], [count / block], [count / block] (kMaxShift less weight_format.h's shift).
struct QuantizedBlocks {
  int8_t* quants;
  int32_t* sums;
  int32_t* shifts;
};

struct IntegerKernels {
  // Returns what the leaf's sum is multiplied by. `block` is 16 or 32 and divides count.
  float (*quantize)(const float* x, int64_t count, int64_t block, QuantizedBlocks out);
  IntegerTiles int8_per_row;  // one scale a row
  IntegerTiles int8_groups;
  IntegerTiles int4_groups;
  // Writes whole int4 groups as the same groups of int8 (integer_layout.h), for many tiles to pass over; null where
  // that is not faster.
  void (*widen)(const WeightFormat& format, const char* int4_groups, int64_t groups, char* int8_groups) = nullptr;
  IntegerRowsFunction rows = nullptr;  // of every format, where a product has at least `least_rows` rows
  int64_t least_rows = 0;              // measured (least_rows.h)
};

// The last steps of some rows of a panel once a leaf's values are there, in this order: what waits on its left in the
// tree of leaves is added (left + value), then the bias, and the result is stored.
struct FinishArgs {
  const float* sums;  // [rows][64], 64-byte aligned
  int64_t rows;
  const float* left[kTreeLevels - 1];  // num_left times [rows][64]
  int num_left;
  const float* bias;  // [columns] or null
  float* out;         // [rows, columns], row stride out_stride
  int64_t out_stride;
  int64_t columns;  // <= 64
};

struct KernelTable {
  Isa isa;
  MatMulKernels matmul[2];  // by WeightType, of the float types
  IntegerKernels integer;
  void (*finish_rows)(const FinishArgs& args);
  void (*rms_norm)(const float* x, const float* weight, float epsilon, int64_t h, float* y);
  void (*add_rms_norm)(float* residual, const float* delta, const float* weight, float epsilon, int64_t h, float* y);
  void (*silu_mul)(const float* gate, const float* up, int64_t count, float* y);
  void (*rope_store)(const RopeStoreArgs& args, int64_t sequence, int64_t token);
  AttentionKernels attention[3];  // by KvType
};

const KernelTable& ReferenceKernels();
const KernelTable& Avx2Kernels();
const KernelTable& AvxVnniKernels();
const KernelTable& Avx512Kernels();
const KernelTable& Avx512VnniKernels();
const KernelTable& Avx512Bf16Kernels();
const KernelTable& AmxKernels();
const KernelTable& NeonKernels();
const KernelTable& NeonDotprodKernels();
const KernelTable& NeonI8mmKernels();
const IntegerKernels& ReferenceIntegerKernels();
const IntegerKernels& Avx2IntegerKernels();
const KernelTable& KernelsFor(Isa isa);  // one that SupportedIsas() names
std::unique_ptr<Backend> CreateCpuBackend(const KernelTable& kernels, int threads);

}  // namespace slmmesh::kernels
