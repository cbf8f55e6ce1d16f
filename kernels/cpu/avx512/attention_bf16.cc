// Attention with vdpbf16ps: q, keys, probabilities and values in bf16, sums in fp32.
//
// A softmax step takes a block of 64 positions, aligned to position 0: the scores of up to 6 rows fill the registers,
// then the probabilities, then 64 columns of the sums. A row's maximum is a whole power of two, raised only once a
// score exceeds it by 2^8, so rescaling is rare and exact. Pairs of values are multiplied for all rows of a tile at the
// positions that all of them see; what some row does not see is walked row by row, over the visible positions alone. So
// what a row computes does not depend on the rows beside it, nor on what a masked slot holds.
#include "kernels/cpu/avx512/attention_bf16.h"

#include <immintrin.h>

#include <algorithm>
#include <bit>
#include <type_traits>

#include "kernels/cpu/attention_spans.h"
#include "kernels/cpu/avx512/vec16.h"
#include "kernels/cpu/bfloat16.h"
#include "kernels/cpu/kv_layout.h"

namespace slmmesh::kernels {
namespace {

constexpr int kTileRows = 6;
constexpr int64_t kBlock = 64;
constexpr int kChunks = kBlock / kAttentionChunk;
constexpr int kChunkPairs = kAttentionChunk / 2;
constexpr int kIntoL2 = 2;         // a hint of __builtin_prefetch: L1 is too small for what is in flight
constexpr float kHeadroom = 8.0f;  // probabilities stay below 2^8
static_assert(kAttentionRows % kTileRows == 0 && kAttentionSpan % kBlock == 0);

// g++ spills the sums when it schedules the intrinsic itself.
inline __attribute__((always_inline)) void DotProduct(__m512& sum, __m512i pairs, __m512i pair) {
  asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(pair), "v"(pairs));
}

// 2^x within 2^-13, x <= 2^8 or so; exactly 0 for -inf.
inline __attribute__((always_inline)) __m512 PowerOfTwo(__m512 x) {
  const __m512 r = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);  // x - floor(x)
  __m512 p = _mm512_set1_ps(0.0780245227f);                                         // minimax over [0, 1)
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.226067155f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.695833541f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.999925219f));
  return _mm512_scalef_ps(p, x);  // p * 2^floor(x)
}

int64_t Clamp(int64_t value, int64_t high) { return value < 0 ? 0 : value > high ? high : value; }

// `count` int8, a multiple of 32, to bf16, exactly; `next` is fetched meanwhile. Both ways give the same.
using WidenFunction = void (*)(const char* in, const char* next, int64_t count, BFloat16* out);

void WidenByConversion(const char* in, const char* next, int64_t count, BFloat16* out) {
  const auto widen = [](const char* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
  };
  for (int64_t i = 0; i < count; i += 32) {
    if (i % 64 == 0) __builtin_prefetch(next + i, 0, kIntoL2);
    _mm512_storeu_si512(out + i, (__m512i)_mm512_cvtne2ps_pbh(widen(in + i + 16), widen(in + i)));
  }
}

struct Bf16Bytes {  // of 0 … 127
  alignas(64) uint8_t low[128], high[128];
};
constexpr Bf16Bytes kBf16Bytes = [] {
  Bf16Bytes bytes = {};
  for (int i = 0; i < 128; ++i) {
    const uint32_t bits = std::bit_cast<uint32_t>(static_cast<float>(i)) >> 16;
    bytes.low[i] = static_cast<uint8_t>(bits);
    bytes.high[i] = static_cast<uint8_t>(bits >> 8);
  }
  return bytes;
}();

// Looks both bytes up: half the work, where the CPU has VBMI.
__attribute__((target("avx512vbmi"))) void WidenByTable(const char* in, const char* next, int64_t count,
                                                        BFloat16* out) {
  const __m512i low0 = _mm512_load_si512(kBf16Bytes.low), low1 = _mm512_load_si512(kBf16Bytes.low + 64);
  const __m512i high0 = _mm512_load_si512(kBf16Bytes.high), high1 = _mm512_load_si512(kBf16Bytes.high + 64);
  const __m512i sign = _mm512_set1_epi8(static_cast<char>(0x80));
  const __m512i order = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);  // the unpacking below interleaves halves of lanes
  for (int64_t i = 0; i < count; i += 64) {
    __builtin_prefetch(next + i, 0, kIntoL2);
    const bool whole = i + 64 <= count;
    const __m512i bytes = _mm512_permutexvar_epi64(order, _mm512_maskz_loadu_epi64(whole ? 0xff : 0x0f, in + i));
    const __m512i magnitude = _mm512_abs_epi8(bytes);
    const __m512i low = _mm512_permutex2var_epi8(low0, magnitude, low1);
    const __m512i high = _mm512_ternarylogic_epi64(_mm512_permutex2var_epi8(high0, magnitude, high1), bytes, sign,
                                                   0xf8);  // a | (b & c)
    _mm512_storeu_si512(out + i, _mm512_unpacklo_epi8(low, high));
    if (whole) _mm512_storeu_si512(out + i + 32, _mm512_unpackhi_epi8(low, high));
  }
}

template <typename Element>  // BFloat16 or int8_t
class Attention {
 public:
  static void RunSpan(const AttentionTask& task, int64_t span, float* partials) {
    Attention(task, partials).Run(span * kAttentionSpan, (span + 1) * kAttentionSpan);
  }
  static float Power(float x) { return _mm_cvtss_f32(_mm_scalef_ss(_mm_set_ss(1.0f), _mm_set_ss(x))); }

 private:
  static constexpr bool kIsInt8 = std::is_same_v<Element, int8_t>;

  // The chunks of 64 positions, as bf16 pairs; null where no row of the task looks.
  struct Block {
    const char* keys[kChunks];
    const char* values[kChunks];
    const float* key_scales[kChunks];
    const float* value_scales[kChunks];
  };
  struct Positions {
    int64_t first, last;
  };

  Attention(const AttentionTask& task, float* partials)
      : args_(*task.args),
        layout_(args_.cache),
        kv_head_(task.kv_head),
        blocks_(args_.sequences.block_table + args_.sequences.block_start[task.sequence]),
        num_rows_(static_cast<int>(task.row_end - task.row_begin)),
        partial_floats_(PartialFloats(layout_.value_stride())),
        partials_(partials) {
    for (int i = 0; i < num_rows_; ++i) {
      const AttentionRow row = RowOf(task, task.row_begin + i);
      visible_[i] = {row.first, row.last};
      maximum_[i] = -__builtin_inff();
      totals_[i] = _mm512_setzero_ps();
      for (int64_t d = 0; d < layout_.value_stride(); d += 16) _mm512_store_ps(Sums(i) + d, _mm512_setzero_ps());
      PackQuery(row.q, q_[i]);
    }
  }

  float* Sums(int i) const { return partials_ + i * partial_floats_ + kPartialSums; }

  // [head_dim / 2], a pair of bf16 each, times scale and log2(e): scores are powers of two.
  void PackQuery(const float* q, uint32_t* out) const {
    const __m512 scale = _mm512_set1_ps(args_.scale * 1.44269504f);
    for (int64_t d = 0; d < layout_.head_dim; d += 32) {
      const int64_t count = std::min<int64_t>(32, layout_.head_dim - d);
      const uint32_t mask = static_cast<uint32_t>((uint64_t{1} << count) - 1);
      const __m512 low = _mm512_maskz_loadu_ps(static_cast<__mmask16>(mask), q + d);
      const __m512 high = _mm512_maskz_loadu_ps(static_cast<__mmask16>(mask >> 16), q + d + 16);
      _mm512_store_si512(out + d / 2,
                         (__m512i)_mm512_cvtne2ps_pbh(_mm512_mul_ps(high, scale), _mm512_mul_ps(low, scale)));
    }
  }

  // Over positions [begin, end).
  void Run(int64_t begin, int64_t end) {
    // Rows ascend by position, so the first sees the earliest key and the last the latest.
    first_ = std::max(begin, visible_[0].first) / kAttentionChunk * kAttentionChunk;
    last_ = std::min(end - 1, visible_[num_rows_ - 1].last);
    if (first_ > last_) return;
    const int64_t last_block = visible_[num_rows_ - 1].last / kBlock * kBlock;  // the next span's first is fetched, too
    Block next = BlockAt(first_ / kBlock * kBlock);
    Fetch(next);  // the others are fetched during the products of the one before
    for (int64_t position = first_ / kBlock * kBlock; position <= last_; position += kBlock) {
      Block block = next;
      if (position < last_block) next = BlockAt(position + kBlock);
      if (kIsInt8 && !WidensByChunk()) WidenBlock(block, next);
      for (int tile = 0; tile * kTileRows < num_rows_; ++tile) RunTile(tile, position, block, next);
    }
    for (int i = 0; i < num_rows_; ++i) {
      partials_[i * partial_floats_] = maximum_[i];
      partials_[i * partial_floats_ + 1] = Sum(avx512::Vec16{totals_[i]});
    }
  }

  void Fetch(const Block& block) const {
    const int64_t bytes = layout_.head_dim * kAttentionChunk * layout_.element_bytes();
    for (int c = 0; c < kChunks; ++c) {
      for (int64_t i = 0; block.keys[c] != nullptr && i < bytes; i += 64) {
        __builtin_prefetch(block.keys[c] + i, 0, kIntoL2);
        __builtin_prefetch(block.values[c] + i, 0, kIntoL2);
      }
    }
  }

  Block BlockAt(int64_t position) const {
    const char* base = static_cast<const char*>(args_.cache.base);
    Block result = {};
    for (int c = 0; c < kChunks; ++c, position += kAttentionChunk) {
      if (position < first_ || position > visible_[num_rows_ - 1].last) continue;
      const int64_t block = blocks_[position / layout_.block_size], slot = position % layout_.block_size;
      result.keys[c] = base + layout_.KeyChunk(block, kv_head_, slot);
      result.values[c] = base + layout_.ValueChunk(block, kv_head_, slot);
      result.key_scales[c] = reinterpret_cast<const float*>(base + layout_.KeyScales(block, kv_head_, slot));
      result.value_scales[c] = reinterpret_cast<const float*>(base + layout_.ValueScales(block, kv_head_, slot));
    }
    return result;
  }

  // Chunks of int8 become bf16: all of a block for several tiles; one by one for a single tile, in what L1 holds.
  bool WidensByChunk() const { return kIsInt8 && num_rows_ <= kTileRows; }
  void WidenBlock(Block& block, const Block& next) {
    for (int c = 0; c < kChunks; ++c) {
      if (block.keys[c] == nullptr) continue;
      WidenKeys(block, next, c, wide_keys_ + c * kAttentionChunk * layout_.head_dim);
      WidenValues(block, next, c, wide_values_ + c * kAttentionChunk * layout_.value_stride());
    }
  }
  void WidenKeys(Block& block, const Block& next, int chunk, BFloat16* out) const {
    widen_(block.keys[chunk], next.keys[chunk], layout_.head_dim * kAttentionChunk, out);
    block.keys[chunk] = reinterpret_cast<const char*>(out);
  }
  void WidenValues(Block& block, const Block& next, int chunk, BFloat16* out) const {
    widen_(block.values[chunk], next.values[chunk], layout_.value_stride() * kAttentionChunk, out);
    block.values[chunk] = reinterpret_cast<const char*>(out);
  }

  void RunTile(int tile, int64_t position, Block& block, const Block& next) {
    const int first_row = tile * kTileRows, rows = std::min(kTileRows, num_rows_ - first_row);
    const Positions early = visible_[first_row], late = visible_[first_row + rows - 1];
    if (late.last < position || early.first >= position + kBlock) return;
    switch (rows) {
      case 1:
        return RunTile<1>(first_row, position, block, next);
      case 2:
        return RunTile<2>(first_row, position, block, next);
      case 3:
        return RunTile<3>(first_row, position, block, next);
      case 4:
        return RunTile<4>(first_row, position, block, next);
      case 5:
        return RunTile<5>(first_row, position, block, next);
      default:
        return RunTile<6>(first_row, position, block, next);
    }
  }

  template <int kRows>
  void RunTile(int first_row, int64_t position, Block& block, const Block& next) {
    const Positions early = visible_[first_row], late = visible_[first_row + kRows - 1];
    // Chunks that one row sees, and pairs of positions that all rows see.
    const int begin = static_cast<int>(Clamp(early.first - position, kBlock) / kAttentionChunk);
    const int end = static_cast<int>(Clamp(late.last + kAttentionChunk - position, kBlock) / kAttentionChunk);
    const int joint = static_cast<int>(Clamp(late.first + 1 - position, kBlock) / 2);
    const int joint_end = static_cast<int>(Clamp(early.last + 1 - position, kBlock) / 2);

    const uint32_t* q = q_[first_row];
    if (begin == 0 && end == kChunks && !WidensByChunk()) {
      first_row == 0 && !kIsInt8 ? Scores<kRows, kChunks, true>(q, block, next, 0)
                                 : Scores<kRows, kChunks, false>(q, block, next, 0);
    } else {
      for (int c = begin; c < end; ++c) {
        if (WidensByChunk()) WidenKeys(block, next, c, wide_keys_);
        Scores<kRows, 1, false>(q, block, next, c);
      }
    }
    for (int r = 0; r < kRows; ++r) Softmax(first_row + r, r, position, block);
    for (int c = begin, after; c < end; c = after) {
      after = WidensByChunk() ? c + 1 : end;
      if (WidensByChunk()) WidenValues(block, next, c, wide_values_);
      const int pair_begin = c * kChunkPairs, pair_end = after * kChunkPairs;
      const int together = std::clamp(joint, pair_begin, pair_end);
      const int together_end = std::clamp(joint_end, together, pair_end);
      AddValuesRowByRow<kRows>(first_row, position, block, pair_begin, together);
      if (first_row == 0 && !kIsInt8) {
        AddValues<kRows, true>(first_row, block, next, together, together_end);
      } else {
        AddValues<kRows, false>(first_row, block, next, together, together_end);
      }
      AddValuesRowByRow<kRows>(first_row, position, block, together_end, pair_end);
    }
  }

  // scores_[rows][chunks from `chunk`] = q k.
  template <int kRows, int kCount, bool kPrefetch>
  __attribute__((noinline)) void Scores(const uint32_t* q, const Block& block, const Block& next, int chunk) {
    __m512 sums[kRows][kCount];
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int c = 0; c < kCount; ++c) sums[r][c] = _mm512_setzero_ps();
    }
    for (int64_t offset = 0; offset < layout_.head_dim * 32; offset += 64, ++q) {
      __m512i keys[kCount];
#pragma GCC unroll 4
      for (int c = 0; c < kCount; ++c) {
        keys[c] = _mm512_loadu_si512(block.keys[chunk + c] + offset);
        if constexpr (kPrefetch) __builtin_prefetch(next.keys[chunk + c] + offset, 0, kIntoL2);
      }
#pragma GCC unroll 6
      for (int r = 0; r < kRows; ++r) {
        const __m512i pair = _mm512_set1_epi32(static_cast<int>(q[r * kMaxHeadDim / 2]));
#pragma GCC unroll 4
        for (int c = 0; c < kCount; ++c) DotProduct(sums[r][c], keys[c], pair);
      }
    }
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int c = 0; c < kCount; ++c) _mm512_store_ps(scores_[r] + (chunk + c) * 16, sums[r][c]);
    }
  }

  // Scores of row `i` become probabilities_[r].
  __attribute__((always_inline)) void Softmax(int i, int r, int64_t position, const Block& block) {
    const int64_t begin = Clamp(visible_[i].first - position, kBlock);
    const int64_t end = Clamp(visible_[i].last + 1 - position, kBlock);
    if (begin >= end) return;
    const uint64_t lanes = ~uint64_t{0} >> (kBlock - (end - begin)) << begin;
    __m512 s[kChunks];
#pragma GCC unroll 4
    for (int c = 0; c < kChunks; ++c) {
      const __mmask16 mask = static_cast<__mmask16>(lanes >> (16 * c));
      s[c] = _mm512_load_ps(scores_[r] + 16 * c);
      if constexpr (kIsInt8) s[c] = _mm512_mul_ps(s[c], _mm512_maskz_loadu_ps(mask, block.key_scales[c]));
      s[c] = _mm512_mask_mov_ps(_mm512_set1_ps(-__builtin_inff()), mask, s[c]);
    }
    const __m512 largest = _mm512_max_ps(_mm512_max_ps(s[0], s[1]), _mm512_max_ps(s[2], s[3]));
    if (_mm512_cmp_ps_mask(largest, _mm512_set1_ps(maximum_[i] + kHeadroom), _CMP_GT_OQ) != 0) {
      RaiseMaximum(i, avx512::Vec16{largest});
    }
    const __m512 maximum = _mm512_set1_ps(maximum_[i]);
#pragma GCC unroll 4
    for (int c = 0; c < kChunks; ++c) s[c] = PowerOfTwo(_mm512_sub_ps(s[c], maximum));
    if constexpr (kIsInt8) {
      totals_[i] = _mm512_add_ps(totals_[i], _mm512_add_ps(_mm512_add_ps(s[0], s[1]), _mm512_add_ps(s[2], s[3])));
#pragma GCC unroll 4
      for (int c = 0; c < kChunks; ++c) {
        const __mmask16 mask = static_cast<__mmask16>(lanes >> (16 * c));
        s[c] = _mm512_mul_ps(s[c], _mm512_maskz_loadu_ps(mask, block.value_scales[c]));
      }
    }
    const __m512i low = (__m512i)_mm512_cvtne2ps_pbh(s[1], s[0]), high = (__m512i)_mm512_cvtne2ps_pbh(s[3], s[2]);
    if constexpr (!kIsInt8) {  // of the rounded ones, as they multiply the values
      const __m512i ones = _mm512_set1_epi32(0x3f803f80);
      DotProduct(totals_[i], low, ones);
      DotProduct(totals_[i], high, ones);
    }
    _mm512_store_si512(probabilities_[r], low);
    _mm512_store_si512(probabilities_[r] + 16, high);
  }

  void RaiseMaximum(int i, avx512::Vec16 scores) {
    const float maximum = __builtin_ceilf(Largest(scores));
    const __m512 factor = _mm512_set1_ps(Power(maximum_[i] - maximum));
    maximum_[i] = maximum;
    totals_[i] = _mm512_mul_ps(totals_[i], factor);
    for (int64_t d = 0; d < layout_.value_stride(); d += 16) {
      _mm512_store_ps(Sums(i) + d, _mm512_mul_ps(_mm512_load_ps(Sums(i) + d), factor));
    }
  }

  template <int kRows, bool kPrefetch>
  void AddValues(int first_row, const Block& block, const Block& next, int pair, int pair_end) {
    if (pair >= pair_end) return;
    const int64_t stride = layout_.value_stride();
    int64_t column = 0;
    if constexpr (kRows <= 3) {
      for (; column + 128 <= stride; column += 128) {
        AddValues<kRows, 8, kPrefetch>(first_row, block, next, pair, pair_end, column);
      }
    }
    for (; column + 64 <= stride; column += 64) {
      AddValues<kRows, 4, kPrefetch>(first_row, block, next, pair, pair_end, column);
    }
    for (; column + 32 <= stride; column += 32) {
      AddValues<kRows, 2, kPrefetch>(first_row, block, next, pair, pair_end, column);
    }
    if (column < stride) AddValues<kRows, 1, kPrefetch>(first_row, block, next, pair, pair_end, column);
  }

  // Sums[rows][columns from `column`] += probabilities of the block's pairs [pair, pair_end) times their values.
  template <int kRows, int kVectors, bool kPrefetch>
  __attribute__((noinline)) void AddValues(int first_row, const Block& block, const Block& next, uint32_t pair,
                                           uint32_t pair_end, int64_t column) {
    __m512 sums[kRows][kVectors];
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) sums[r][v] = _mm512_load_ps(Sums(first_row + r) + column + 16 * v);
    }
    const int64_t pair_bytes = layout_.value_stride() * 4;
    for (; pair < pair_end; ++pair) {
      const int64_t offset = pair % kChunkPairs * pair_bytes + column * 4;
      const char* values = block.values[pair / kChunkPairs] + offset;
      const char* prefetch = next.values[pair / kChunkPairs] + offset;
      __m512i value[kVectors];
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) {
        value[v] = _mm512_loadu_si512(values + 64 * v);
        if constexpr (kPrefetch) __builtin_prefetch(prefetch + 64 * v, 0, kIntoL2);
      }
#pragma GCC unroll 6
      for (int r = 0; r < kRows; ++r) {
        const __m512i probability = _mm512_set1_epi32(static_cast<int>(probabilities_[r][pair]));
#pragma GCC unroll 8
        for (int v = 0; v < kVectors; ++v) DotProduct(sums[r][v], value[v], probability);
      }
    }
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) _mm512_store_ps(Sums(first_row + r) + column + 16 * v, sums[r][v]);
    }
  }

  // Pairs that some row does not see: every row over those that it sees, half a pair where one ends there.
  template <int kRows>
  void AddValuesRowByRow(int first_row, int64_t position, const Block& block, int pair_begin, int pair_end) {
    const int64_t stride = layout_.value_stride();
    for (int r = 0; r < kRows; ++r) {
      const int64_t first = visible_[first_row + r].first - position, last = visible_[first_row + r].last - position;
      const int64_t row_end = std::min<int64_t>(pair_end, last < 0 ? 0 : last / 2 + 1);
      for (int64_t pair = std::max<int64_t>(pair_begin, first / 2); pair < row_end; ++pair) {
        const uint32_t lower = 2 * pair >= first ? 0xffffu : 0, upper = 2 * pair + 1 <= last ? 0xffff0000u : 0;
        const __m512i seen = _mm512_set1_epi32(static_cast<int>(lower | upper));
        const __m512i probability = _mm512_set1_epi32(static_cast<int>(probabilities_[r][pair]));
        const char* values = block.values[pair / kChunkPairs] + pair % kChunkPairs * stride * 4;
        for (int64_t d = 0; d < stride; d += 16) {
          __m512 sum = _mm512_load_ps(Sums(first_row + r) + d);
          DotProduct(sum, _mm512_and_si512(_mm512_loadu_si512(values + d * 4), seen), probability);
          _mm512_store_ps(Sums(first_row + r) + d, sum);
        }
      }
    }
  }

  const WidenFunction widen_ = __builtin_cpu_supports("avx512vbmi") ? WidenByTable : WidenByConversion;
  const AttentionArgs& args_;
  const KvLayout layout_;
  const int64_t kv_head_;
  const uint32_t* const blocks_;
  const int num_rows_;
  const int64_t partial_floats_;
  float* const partials_;
  int64_t first_ = 0, last_ = 0;  // positions of this span that a row of the task sees; first_ begins a chunk
  Positions visible_[kAttentionRows];
  float maximum_[kAttentionRows];  // of scores, an integer
  __m512 totals_[kAttentionRows];  // of probabilities, lane by lane
  alignas(64) uint32_t q_[kAttentionRows][kMaxHeadDim / 2];
  alignas(64) float scores_[kTileRows][kBlock];
  alignas(64) uint32_t probabilities_[kTileRows][kBlock / 2];
  alignas(64) BFloat16 wide_keys_[kIsInt8 ? kBlock * kMaxHeadDim : 1];
  alignas(64) BFloat16 wide_values_[kIsInt8 ? kBlock * kMaxHeadDim : 1];
};

}  // namespace

AttentionKernels Avx512Bf16Attention(KvType type) {
  if (type == KvType::kInt8) return AttentionSpans<avx512::Vec16, Attention<int8_t>>::Kernels();
  return AttentionSpans<avx512::Vec16, Attention<BFloat16>>::Kernels();
}

}  // namespace slmmesh::kernels
