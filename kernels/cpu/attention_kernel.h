// Attention of a few query rows over one KV head, written once over an instruction set's Vec16.
//
// Chunk by chunk of 16 positions: 16 scores grow in the lanes of one vector, the running maximum is raised if one of
// them exceeds it, probabilities are added lane by lane, and values position by position in ascending order. A row
// takes part in the chunks that hold a key it sees; a chunk it sees in part is walked by that row alone, over the
// visible positions alone. So a masked slot is never multiplied, and what a row computes does not depend on the rows
// beside it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/kv_layout.h"
#include "kernels/cpu/vector_math.h"

namespace slmmesh::kernels {

template <typename Vec16, typename Element>  // Element: float or BFloat16
class AttentionKernel {
 public:
  static void Run(const AttentionTask& task) {
    for (int64_t row = task.row_begin; row < task.row_end; row += kTile) {
      const int64_t rows = task.row_end - row < kTile ? task.row_end - row : kTile;
      AttentionKernel(task, row, static_cast<int>(rows)).RunTile();
    }
  }

 private:
  static constexpr int kTile = Vec16::kAttentionTileRows;
  static constexpr int kColumns = Vec16::kAttentionTileColumns;
  static constexpr int64_t kMaxHeadDim = 256;
  static constexpr int64_t kLanes = kAttentionChunk;

  struct Row {
    int64_t first, last;  // visible positions
    float maximum;
    Vec16 total;  // of probabilities, lane by lane
  };

  AttentionKernel(const AttentionTask& task, int64_t first_row, int rows)
      : args_(*task.args),
        layout_{args_.cache.block_size, args_.cache.num_kv_heads, args_.cache.head_dim},
        kv_head_(task.kv_head),
        blocks_(args_.sequences.block_table + args_.sequences.block_start[task.sequence]),
        num_rows_(rows) {
    const int64_t group = args_.num_q_heads / layout_.num_kv_heads;
    const int64_t head_dim = layout_.head_dim;
    for (int r = 0; r < rows; ++r) {
      const int64_t token = args_.sequences.query_start[task.sequence] + (first_row + r) / group;
      const int64_t q_head = kv_head_ * group + (first_row + r) % group;
      const int64_t position = args_.sequences.positions[token];
      const int64_t window = args_.sliding_window;
      rows_[r] = {window > 0 && position >= window ? position - window + 1 : 0, position, -__builtin_inff(),
                  Vec16::Splat(0.0f)};
      out_[r] = args_.out + (token * args_.num_q_heads + q_head) * head_dim;
      const float* q = args_.qkv + (token * (args_.num_q_heads + 2 * layout_.num_kv_heads) + q_head) * head_dim;
      for (int64_t d = 0; d < head_dim; ++d) q_[d * rows + r] = q[d] * args_.scale;
      for (int64_t d = 0; d < layout_.value_stride(); ++d) sums_[r][d] = 0.0f;
    }
  }

  struct Chunk {
    const Element* keys;
    const Element* values;
  };

  void RunTile() {
    // Rows ascend by position, so the first sees the earliest key and the last the latest.
    const int64_t first = rows_[0].first / kLanes * kLanes, last = rows_[num_rows_ - 1].last;
    Chunk next = ChunkAt(first);
    for (int64_t position = first; position <= last; position += kLanes) {
      const Chunk chunk = next;
      if (position + kLanes <= last) next = ChunkAt(position + kLanes);
      switch (num_rows_) {
        case 1:
          RunChunk<1>(position, chunk, next);
          break;
        case 2:
          RunChunk<2>(position, chunk, next);
          break;
        case 3:
          RunChunk<3>(position, chunk, next);
          break;
        case 4:
          RunChunk<4>(position, chunk, next);
          break;
        case 5:
          RunChunk<5>(position, chunk, next);
          break;
        default:
          RunChunk<6>(position, chunk, next);
          break;
      }
    }
    for (int r = 0; r < num_rows_; ++r) WriteRow(r);
  }

  Chunk ChunkAt(int64_t position) const {
    const Element* base = static_cast<const Element*>(args_.cache.base);
    const int64_t block = blocks_[position / layout_.block_size];
    const int64_t slot = position % layout_.block_size;
    return {base + layout_.KeyChunk(block, kv_head_, slot), base + layout_.Value(block, kv_head_, slot)};
  }

  // `next` is fetched meanwhile.
  template <int kRows>
  void RunChunk(int64_t first_position, Chunk chunk, Chunk next) {
    if constexpr (kRows <= kTile) {
      Vec16 scores[kRows];
      Scores<kRows>(chunk.keys, next, scores);
      bool all_full = true;
      for (int r = 0; r < kRows; ++r) {
        const auto [begin, end] = Visible(r, first_position);
        if (begin < end) Softmax(r, begin, end, scores[r]);
        all_full = all_full && begin == 0 && end == kLanes;
      }
      if (all_full) {
        AddValues<kRows>(chunk.values);
        return;
      }
      for (int r = 0; r < kRows; ++r) {
        const auto [begin, end] = Visible(r, first_position);
        for (int64_t column = 0; begin < end && column < layout_.value_stride(); column += 16) {
          AddValues<1, 1>(chunk.values, r, begin, end, column);
        }
      }
    }
  }

  struct Lanes {
    int begin, end;
  };
  // Of the 16 positions from `first_position`; empty when begin >= end.
  Lanes Visible(int row, int64_t first_position) const {
    const int64_t begin = rows_[row].first - first_position, end = rows_[row].last + 1 - first_position;
    return {static_cast<int>(begin < 0 ? 0 : begin), static_cast<int>(end > kLanes ? kLanes : end)};
  }

  template <int kRows>
  void Scores(const Element* keys, Chunk next, Vec16* scores) const {
    Vec16 sums[kRows];
    for (int r = 0; r < kRows; ++r) sums[r] = Vec16::Splat(0.0f);
    const float* q = q_;
    for (int64_t d = 0; d < layout_.head_dim; d += 2) {
      for (size_t line = 0; line < 32 * sizeof(Element); line += 64) {
        __builtin_prefetch(reinterpret_cast<const char*>(next.keys + d * kLanes) + line);
        __builtin_prefetch(reinterpret_cast<const char*>(next.values + d * kLanes) + line);
      }
      Vec16 even, odd;
      if constexpr (std::is_same_v<Element, float>) {
        even = Vec16::Load(keys);
        odd = Vec16::Load(keys + 16);
      } else {
        even = Vec16::LoadEven(keys);
        odd = Vec16::LoadOdd(keys);
      }
#pragma GCC unroll 6
      for (int r = 0; r < kRows; ++r) sums[r] = Fma(even, Vec16::Splat(q[r]), sums[r]);
#pragma GCC unroll 6
      for (int r = 0; r < kRows; ++r) sums[r] = Fma(odd, Vec16::Splat(q[kRows + r]), sums[r]);
      keys += 32;
      q += 2 * kRows;
    }
    for (int r = 0; r < kRows; ++r) scores[r] = sums[r];
  }

  void Softmax(int r, int begin, int end, Vec16 scores) {
    Row& row = rows_[r];
    const bool full = begin == 0 && end == kLanes;
    if (!full) scores = KeepLanes(scores, begin, end, Vec16::Splat(-__builtin_inff()));
    if (AnyGreater(scores, Vec16::Splat(row.maximum))) {  // else the factor below would be exactly 1
      const float maximum = Largest(scores);
      const Vec16 factor = Exp(Vec16::Splat(row.maximum) - Vec16::Splat(maximum));
      row.maximum = maximum;
      row.total = row.total * factor;
      for (int64_t d = 0; d < layout_.value_stride(); d += 16) {
        (Vec16::Load(sums_[r] + d) * factor).Store(sums_[r] + d);
      }
    }
    Vec16 probabilities = Exp(scores - Vec16::Splat(row.maximum));
    if (!full) probabilities = KeepLanes(probabilities, begin, end, Vec16::Splat(0.0f));
    row.total = row.total + probabilities;
    probabilities.Store(probabilities_[r]);
  }

  template <int kRows>
  void AddValues(const Element* values) {
    int64_t column = 0;
    for (; column + 16 * kColumns <= layout_.value_stride(); column += 16 * kColumns) {
      AddValues<kRows, kColumns>(values, 0, 0, kLanes, column);
    }
    for (; column < layout_.value_stride(); column += 16) AddValues<kRows, 1>(values, 0, 0, kLanes, column);
  }

  // sums[rows from first_row][column ...] += probabilities of positions [begin, end) times their values.
  template <int kRows, int kVectors>
  void AddValues(const Element* values, int first_row, int begin, int end, int64_t column) {
    Vec16 sums[kRows][kVectors];
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int c = 0; c < kVectors; ++c) sums[r][c] = Vec16::Load(sums_[first_row + r] + column + 16 * c);
    }
    const int64_t stride = layout_.value_stride();
    for (int position = begin; position < end; ++position) {
      Vec16 value[kVectors];
#pragma GCC unroll 4
      for (int c = 0; c < kVectors; ++c) value[c] = Vec16::Load(values + position * stride + column + 16 * c);
#pragma GCC unroll 6
      for (int r = 0; r < kRows; ++r) {
        const Vec16 probability = Vec16::Splat(probabilities_[first_row + r][position]);
#pragma GCC unroll 4
        for (int c = 0; c < kVectors; ++c) sums[r][c] = Fma(probability, value[c], sums[r][c]);
      }
    }
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int c = 0; c < kVectors; ++c) sums[r][c].Store(sums_[first_row + r] + column + 16 * c);
    }
  }

  void WriteRow(int r) const {
    const Vec16 total = Vec16::Splat(Sum(rows_[r].total));
    for (int64_t d = 0; d < layout_.head_dim; d += 16) {
      const int64_t lanes = layout_.head_dim - d < 16 ? layout_.head_dim - d : 16;
      (Vec16::Load(sums_[r] + d) / total).StoreFirst(out_[r] + d, lanes);
    }
  }

  const AttentionArgs& args_;
  const KvLayout layout_;
  const int64_t kv_head_;
  const uint32_t* const blocks_;
  const int num_rows_;
  Row rows_[kTile];
  float* out_[kTile];
  alignas(64) float q_[kMaxHeadDim * kTile];  // [head_dim][rows], times scale
  alignas(64) float sums_[kTile][kMaxHeadDim];
  alignas(64) float probabilities_[kTile][kLanes];
};

}  // namespace slmmesh::kernels
