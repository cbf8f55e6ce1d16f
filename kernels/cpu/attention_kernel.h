// Attention of a few query rows over one span of one KV head in fp32, written once over an instruction set's Vec16.
//
// Chunk by chunk of 16 positions: 16 scores grow in the lanes of one vector, the running maximum is raised if one of
// them exceeds it, probabilities are added lane by lane, and values position by position in ascending order. A row
// takes part in the chunks that hold a key it sees; a chunk it sees in part is walked by that row alone, over the
// visible positions alone. So a masked slot is never multiplied, and what a row computes does not depend on the rows
// beside it. int8 keys and values are widened chunk by chunk; scores and probabilities are multiplied by their scales.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "kernels/cpu/attention_spans.h"
#include "kernels/cpu/attention_task.h"
#include "kernels/cpu/bfloat16.h"
#include "kernels/cpu/kv_layout.h"
#include "kernels/cpu/vector_math.h"

namespace slmmesh::kernels {

template <typename Vec16, typename Element>  // Element: float, BFloat16 or int8_t
class AttentionKernel {
 public:
  static constexpr AttentionKernels Kernels() { return AttentionSpans<Vec16, AttentionKernel>::Kernels(); }

  static void RunSpan(const AttentionTask& task, int64_t span, float* partials) {
    const int64_t stride = PartialFloats(KvLayout(task.args->cache).value_stride());
    for (int64_t row = task.row_begin; row < task.row_end; row += kTile) {
      const int64_t rows = task.row_end - row < kTile ? task.row_end - row : kTile;
      AttentionKernel kernel(task, row, static_cast<int>(rows), partials + (row - task.row_begin) * stride);
      kernel.RunTile(span * kAttentionSpan, (span + 1) * kAttentionSpan);
    }
  }

  static float Power(float x) { return Largest(Exp(Vec16::Splat(x))); }

 private:
  static constexpr int kTile = Vec16::kAttentionTileRows;
  static constexpr int kColumns = Vec16::kAttentionTileColumns;
  static constexpr int64_t kLanes = kAttentionChunk;
  static constexpr bool kIsInt8 = std::is_same_v<Element, int8_t>;
  using Wide = std::conditional_t<kIsInt8, BFloat16, Element>;  // what is multiplied: holds every int8 exactly

  struct Row {
    int64_t first, last;  // visible positions
    float maximum;
    Vec16 total;  // of probabilities, lane by lane
    float* partial;
    float* sums;
  };

  AttentionKernel(const AttentionTask& task, int64_t first_row, int rows, float* partials)
      : args_(*task.args),
        layout_(args_.cache),
        kv_head_(task.kv_head),
        blocks_(args_.sequences.block_table + args_.sequences.block_start[task.sequence]),
        num_rows_(rows) {
    const int64_t head_dim = layout_.head_dim, stride = layout_.value_stride();
    for (int r = 0; r < rows; ++r) {
      const AttentionRow row = RowOf(task, first_row + r);
      float* partial = partials + r * PartialFloats(stride);
      rows_[r] = {row.first, row.last, -__builtin_inff(), Vec16::Splat(0.0f), partial, partial + kPartialSums};
      for (int64_t d = 0; d < head_dim; ++d) q_[d * rows + r] = row.q[d] * args_.scale;
      for (int64_t d = 0; d < stride; ++d) rows_[r].sums[d] = 0.0f;
    }
  }

  struct Chunk {
    const Element* keys;
    const Element* values;
    const float* key_scales;  // of int8 alone, as the next
    const float* value_scales;
  };

  // Over positions [begin, end).
  void RunTile(int64_t begin, int64_t end) {
    // Rows ascend by position, so the first sees the earliest key and the last the latest.
    const int64_t first = rows_[0].first < begin ? begin : rows_[0].first / kLanes * kLanes;
    const int64_t last = rows_[num_rows_ - 1].last < end ? rows_[num_rows_ - 1].last : end - 1;
    if (first > last) return;
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
    for (int r = 0; r < num_rows_; ++r) {
      rows_[r].partial[0] = rows_[r].maximum;
      rows_[r].partial[1] = Sum(rows_[r].total);
    }
  }

  Chunk ChunkAt(int64_t position) const {
    const char* base = static_cast<const char*>(args_.cache.base);
    const int64_t block = blocks_[position / layout_.block_size];
    const int64_t slot = position % layout_.block_size;
    Chunk chunk = {reinterpret_cast<const Element*>(base + layout_.KeyChunk(block, kv_head_, slot)),
                   reinterpret_cast<const Element*>(base + layout_.ValueChunk(block, kv_head_, slot)), nullptr,
                   nullptr};
    if constexpr (kIsInt8) {
      chunk.key_scales = reinterpret_cast<const float*>(base + layout_.KeyScales(block, kv_head_, slot));
      chunk.value_scales = reinterpret_cast<const float*>(base + layout_.ValueScales(block, kv_head_, slot));
    }
    return chunk;
  }

  // The elements themselves, or int8 widened into `wide`.
  static const Wide* Widen(const Element* elements, int64_t count, Wide* wide) {
    if constexpr (!kIsInt8) return elements;
    if constexpr (kIsInt8) {
      for (int64_t i = 0; i < count; ++i) {  // an integer of 8 bits: its lower half as fp32 is zero
        const float value = elements[i];
        uint32_t bits;
        __builtin_memcpy(&bits, &value, sizeof(bits));
        wide[i] = static_cast<Wide>(bits >> 16);
      }
    }
    return wide;
  }

  // `next` is fetched meanwhile.
  template <int kRows>
  void RunChunk(int64_t first_position, Chunk chunk, Chunk next) {
    if constexpr (kRows <= kTile) {
      Vec16 scores[kRows];
      Scores<kRows>(Widen(chunk.keys, layout_.head_dim * kLanes, wide_), next, scores);
      bool all_full = true;
      for (int r = 0; r < kRows; ++r) {
        const auto [begin, end] = Visible(r, first_position);
        if constexpr (kIsInt8) scores[r] = scores[r] * Vec16::Load(chunk.key_scales);
        if (begin < end) Softmax(r, begin, end, scores[r], chunk.value_scales);
        all_full = all_full && begin == 0 && end == kLanes;
      }
      const Wide* values = Widen(chunk.values, layout_.value_stride() * kLanes, wide_);
      if (all_full) {
        AddValues<kRows>(values);
        return;
      }
      for (int r = 0; r < kRows; ++r) {
        const auto [begin, end] = Visible(r, first_position);
        for (int64_t column = 0; begin < end && column < layout_.value_stride(); column += 16) {
          AddValues<1, 1>(values, r, begin, end, column);
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
  void Scores(const Wide* keys, Chunk next, Vec16* scores) const {
    Vec16 sums[kRows];
    for (int r = 0; r < kRows; ++r) sums[r] = Vec16::Splat(0.0f);
    const float* q = q_;
    for (int64_t d = 0; d < layout_.head_dim; d += 2) {
      for (size_t line = 0; line < 32 * sizeof(Element); line += 64) {
        __builtin_prefetch(reinterpret_cast<const char*>(next.keys + d * kLanes) + line);
        __builtin_prefetch(reinterpret_cast<const char*>(next.values + d * kLanes) + line);
      }
      Vec16 even, odd;
      if constexpr (std::is_same_v<Wide, float>) {
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

  void Softmax(int r, int begin, int end, Vec16 scores, const float* value_scales) {
    Row& row = rows_[r];
    const bool full = begin == 0 && end == kLanes;
    if (!full) scores = KeepLanes(scores, begin, end, Vec16::Splat(-__builtin_inff()));
    if (AnyGreater(scores, Vec16::Splat(row.maximum))) {  // else the factor below would be exactly 1
      const float maximum = Largest(scores);
      const Vec16 factor = Exp(Vec16::Splat(row.maximum) - Vec16::Splat(maximum));
      row.maximum = maximum;
      row.total = row.total * factor;
      for (int64_t d = 0; d < layout_.value_stride(); d += 16) {
        (Vec16::Load(row.sums + d) * factor).Store(row.sums + d);
      }
    }
    Vec16 probabilities = Exp(scores - Vec16::Splat(row.maximum));
    if (!full) probabilities = KeepLanes(probabilities, begin, end, Vec16::Splat(0.0f));
    row.total = row.total + probabilities;
    if constexpr (kIsInt8) probabilities = probabilities * Vec16::Load(value_scales);  // masked lanes are not read
    probabilities.Store(probabilities_[r]);
  }

  template <int kRows>
  void AddValues(const Wide* values) {
    int64_t column = 0;
    for (; column + 16 * kColumns <= layout_.value_stride(); column += 16 * kColumns) {
      AddValues<kRows, kColumns>(values, 0, 0, kLanes, column);
    }
    for (; column < layout_.value_stride(); column += 16) AddValues<kRows, 1>(values, 0, 0, kLanes, column);
  }

  // sums[rows from first_row][column ...] += probabilities of positions [begin, end) times their values.
  template <int kRows, int kVectors>
  void AddValues(const Wide* values, int first_row, int begin, int end, int64_t column) {
    Vec16 sums[kRows][kVectors];
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int c = 0; c < kVectors; ++c) sums[r][c] = Vec16::Load(rows_[first_row + r].sums + column + 16 * c);
    }
    for (int position = begin; position < end; ++position) {
      Vec16 value[kVectors];
#pragma GCC unroll 4
      for (int c = 0; c < kVectors; ++c) value[c] = LoadValue(values, position, column + 16 * c);
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
      for (int c = 0; c < kVectors; ++c) sums[r][c].Store(rows_[first_row + r].sums + column + 16 * c);
    }
  }

  Vec16 LoadValue(const Wide* values, int position, int64_t column) const {
    if constexpr (std::is_same_v<Wide, float>) {
      return Vec16::Load(values + position * layout_.value_stride() + column);
    } else {
      const Wide* pairs = values + (position / 2 * layout_.value_stride() + column) * 2;
      return position % 2 == 0 ? Vec16::LoadEven(pairs) : Vec16::LoadOdd(pairs);
    }
  }

  const AttentionArgs& args_;
  const KvLayout layout_;
  const int64_t kv_head_;
  const uint32_t* const blocks_;
  const int num_rows_;
  Row rows_[kTile];
  alignas(64) float q_[kMaxHeadDim * kTile];  // [head_dim][rows], times scale
  alignas(64) float probabilities_[kTile][kLanes];
  alignas(64) Wide wide_[kIsInt8 ? kMaxHeadDim * kLanes : 1];  // a chunk of keys, then of values
};

}  // namespace slmmesh::kernels
