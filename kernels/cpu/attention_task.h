// Attention cut into tasks: a few query rows over one KV head, whole or span by span of kAttentionSpan positions.
//
// Every span of a row begins afresh (its own maximum, its own sums: a partial), and the partials of a row are joined in
// ascending order. So the spans may be computed by different threads, and the bits do not tell.
#pragma once

#include <cstdint>

#include "kernels/backend.h"

namespace slmmesh::kernels {

constexpr int64_t kAttentionSpan = 512;  // positions, aligned to position 0
constexpr int64_t kAttentionRows = 48;   // rows per task, at most
constexpr int64_t kMaxHeadDim = 256;

// A row is one query head of one token: row r of a sequence is token r / group, head r % group of the KV head's group.
struct AttentionTask {
  const AttentionArgs* args;
  int64_t sequence;
  int64_t kv_head;
  int64_t row_begin, row_end;  // rows ascend by position
};

struct AttentionRow {
  int64_t first, last;  // visible positions
  const float* q;       // [head_dim]
  float* out;           // [head_dim]
};
AttentionRow RowOf(const AttentionTask& task, int64_t row);

struct SpanRange {
  int64_t begin, end;
};
SpanRange SpansOf(const AttentionTask& task);  // in which one of its rows sees a key

// The partial of a row, 64-byte aligned: [0] maximum, [1] total of probabilities, [kPartialSums …] sums of values.
constexpr int64_t kPartialSums = 16;
constexpr int64_t kMaxPartialFloats = kPartialSums + kMaxHeadDim;
inline constexpr int64_t PartialFloats(int64_t value_stride) { return kPartialSums + value_stride; }

struct AttentionKernels {
  // All spans of the task, into args->out.
  void (*run)(const AttentionTask& task);
  // One span into partials[rows]; rows that see nothing of it are left alone.
  void (*run_span)(const AttentionTask& task, int64_t span, float* partials);
  // Joins partials[spans][rows] of run_span, overwriting them, into args->out.
  void (*join)(const AttentionTask& task, float* partials);
};

}  // namespace slmmesh::kernels
