// The integer tile kernel over an instruction set's Unit: kRows x kColumns vectors of sums stay in registers.
//
// A Unit has kLanes columns in a vector of 32-bit lanes and says how a dot product of four bytes a lane is made:
//   Weights LoadInt8(p), LoadLow(p), LoadHigh(p)   four quants of each column, unsigned, but for kInt8IsSigned
//   Activations LoadActivations(p)                 four of one row, for all lanes
//   void Dot(Int& sum, Weights, Activations)
//   void Pace()   may be left out: spends time between two steps over int8 that come from memory
#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>

#include "kernels/cpu/integer_layout.h"
#include "kernels/cpu/kernel_table.h"

namespace slmmesh::kernels {

enum class IntegerKind { kInt8PerRow, kInt8Groups, kInt4Groups };

template <typename Unit, int kRows, int kColumns>
class IntegerTile {
 public:
  static void Int8PerRow(const IntegerTileArgs& args) { Run<Kind::kInt8PerRow>(args); }
  static void Int8Groups(const IntegerTileArgs& args) { Run<Kind::kInt8Groups>(args); }
  static void Int4Groups(const IntegerTileArgs& args) { Run<Kind::kInt4Groups>(args); }
  // For IntegerTiles::streamed_rows alone: too many rows for the registers of a tile that does not wait for memory.
  static void StreamInt8PerRow(const IntegerTileArgs& args) { RunStrip<Kind::kInt8PerRow, kStreamed>(args, 0); }
  static void StreamInt8Groups(const IntegerTileArgs& args) { RunStrip<Kind::kInt8Groups, kStreamed>(args, 0); }

  // IntegerKernels::widen, for Units whose int8 is unsigned and that have Widen(nibbles, offset): adds to every byte.
  static void Widen(const WeightFormat& format, const char* from, int64_t groups, char* to) {
    const IntegerLayout layout(format, format.group);
    const int offset = kInt8Offset - Int4Offset(format);
    for (int64_t g = 0; g < groups; ++g) {
      std::memcpy(to, from, static_cast<size_t>(layout.header_bytes()));
      from += layout.header_bytes();
      to += layout.header_bytes();
      for (int64_t k = 0; k < format.group; k += 8, to += kStepBytes) {
        for (const char* end = from + kStepBytes; from < end; from += sizeof(Int), to += sizeof(Int)) {
          Unit::Store(Unit::Widen(Unit::LoadLow(from), offset), to);
          Unit::Store(Unit::Widen(Unit::LoadHigh(from), offset), to + kStepBytes);
        }
      }
    }
  }

 private:
  using Kind = IntegerKind;
  using Int = typename Unit::Int;
  using Float = typename Unit::Float;
  static constexpr int kStripColumns = kColumns * Unit::kLanes;
  static constexpr int64_t kStepBytes = 4 * kPanelColumns;
  static constexpr int32_t kOffset8 = Unit::kInt8IsSigned ? 0 : kInt8Offset;

  // Instead of a number of lines: the weights come straight from memory, fetched ahead by hardware. It reads up to a
  // quarter faster (Zen 4) where every address follows the one before: scales are loaded before the quants behind them,
  // and loads are few (a loop that is not unrolled) and stay in order. A panel in strips is read only half as fast
  // (AVX2), so a strip takes all columns as long as its sums need no more than 16 registers.
  static constexpr int kStreamed = -1;
  static constexpr int kAllColumns = kPanelColumns / Unit::kLanes;
  static constexpr bool kCanStream = kRows * kAllColumns <= 16;
  template <typename, int, int>
  friend class IntegerTile;

  template <Kind kKind>
  static void Run(const IntegerTileArgs& args) {
    if constexpr (kCanStream) {
      using AllColumns = IntegerTile<Unit, kRows, kAllColumns>;
      if (args.prefetch == nullptr) return AllColumns::template RunStrip<kKind, kStreamed>(args, 0);
    }
    switch (args.prefetch_lines) {
      case 0:
        RunStrip<kKind, 0>(args, 0);
        break;
      case 1:
        RunStrip<kKind, 1>(args, 0);
        break;
      default:
        RunStrip<kKind, 2>(args, 0);
        break;
    }
    for (int column = kStripColumns; column < kPanelColumns; column += kStripColumns) RunStrip<kKind, 0>(args, column);
  }

  template <int kLines>
  static const char* Prefetch(const char* p) {
#pragma GCC unroll 2
    for (int line = 0; line < kLines; ++line) __builtin_prefetch(p + 64 * line, 0, 2);
    return kLines > 0 ? p + 64 * kLines : p;
  }

  enum class Quants { kInt8, kLow, kHigh };
  // sums += four k of the weights at `weights` times those of x.
  template <Quants kQuants, int kLines>
  [[gnu::always_inline]] static void Step(const char* weights, const int8_t* x, int64_t x_stride,
                                          Int (&sums)[kRows][kColumns]) {
    typename Unit::Weights w[kColumns];
#pragma GCC unroll 16
    for (int c = 0; c < kColumns; ++c) {
      const char* p = weights + 4 * Unit::kLanes * c;
      w[c] = kQuants == Quants::kInt8  ? Unit::LoadInt8(p)
             : kQuants == Quants::kLow ? Unit::LoadLow(p)
                                       : Unit::LoadHigh(p);
      if constexpr (kLines == kStreamed) std::atomic_signal_fence(std::memory_order_acq_rel);
    }
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      const typename Unit::Activations four = Unit::LoadActivations(x + r * x_stride);
#pragma GCC unroll 16
      for (int c = 0; c < kColumns; ++c) Unit::template Dot<kQuants == Quants::kInt8>(sums[r][c], w[c], four);
    }
  }

  static Float LoadScale(const char* scales, ScaleType type, int column) {
    return type == ScaleType::kFloat32 ? Unit::LoadFloat(reinterpret_cast<const float*>(scales) + column)
                                       : Unit::LoadHalf(reinterpret_cast<const uint16_t*>(scales) + column);
  }

  // The scales and minima of a group.
  template <bool kLoadsAhead>
  class Header {
   public:
    Header(const char* from, const IntegerLayout& layout, int column)
        : scales_(from), minima_(from + layout.scale_bytes()), type_(layout.format.scale_type), column_(column) {
      if constexpr (!kLoadsAhead) return;
#pragma GCC unroll 16
      for (int c = 0; c < kColumns; ++c) loaded_scales_[c] = Load(scales_, c);
      if (!layout.format.has_minima) return;
#pragma GCC unroll 16
      for (int c = 0; c < kColumns; ++c) loaded_minima_[c] = Load(minima_, c);
    }
    Float Scale(int c) const { return kLoadsAhead ? loaded_scales_[c] : Load(scales_, c); }
    Float Minimum(int c) const { return kLoadsAhead ? loaded_minima_[c] : Load(minima_, c); }

   private:
    Float Load(const char* from, int c) const { return LoadScale(from, type_, column_ + c * Unit::kLanes); }

    const char *scales_, *minima_;
    ScaleType type_;
    int column_;
    Float loaded_scales_[kColumns], loaded_minima_[kColumns];
  };

  // What a strip walks along.
  struct Cursor {
    const char* weights;
    const char* prefetch;
    const int8_t* x;
    const int32_t* x_sums;
    const int32_t* x_shifts;
    int64_t x_stride, x_block_stride;
  };

  // sums = the products of one block, shifted.
  template <bool kInt4, int kLines>
  [[gnu::always_inline]] static void Block(int64_t block, int32_t offset, int column, Cursor& at,
                                           Int (&sums)[kRows][kColumns]) {
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      const Int start = Unit::SplatInt(-offset * at.x_sums[r * at.x_block_stride]);
#pragma GCC unroll 16
      for (int c = 0; c < kColumns; ++c) sums[r][c] = start;
    }
    if constexpr (kLines == kStreamed) asm("" : "+r"(block));  // so that it is not unrolled
    for (int64_t k = 0; k < block; k += kInt4 ? 8 : 4) {
      at.prefetch = Prefetch<kLines>(at.prefetch);
      if constexpr (kLines == kStreamed && !kInt4 && requires { Unit::Pace(); }) Unit::Pace();
      Step<kInt4 ? Quants::kLow : Quants::kInt8, kLines>(at.weights + 4 * column, at.x, at.x_stride, sums);
      if constexpr (kInt4) Step<Quants::kHigh, kLines>(at.weights + 4 * column, at.x + 4, at.x_stride, sums);
      at.x += kInt4 ? 8 : 4;
      at.weights += kStepBytes;
    }
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
      for (int c = 0; c < kColumns; ++c) sums[r][c] = Unit::ShiftLeft(sums[r][c], at.x_shifts[r * at.x_block_stride]);
    }
  }

  template <Kind kKind, int kLines>
  static void RunStrip(const IntegerTileArgs& args, int column) {
    constexpr bool kInt4 = kKind == Kind::kInt4Groups;
    constexpr bool kPerRow = kKind == Kind::kInt8PerRow;
    static_assert(kLines != kStreamed || kColumns == kAllColumns, "one strip streams the whole panel");
    const WeightFormat format = *args.format;
    const IntegerLayout layout(format, args.k);
    const int32_t offset = kInt4 ? Int4Offset(format) : kOffset8;
    const int64_t block = layout.block(), group = layout.group();
    const int64_t header_bytes = kPerRow ? 0 : layout.header_bytes();
    Float totals[kRows][kColumns];
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
      for (int c = 0; c < kColumns; ++c) {
        totals[r][c] = args.resume ? Unit::LoadFloat(args.sums + r * kPanelColumns + column + c * Unit::kLanes)
                                   : Unit::SplatFloat(0.0f);
      }
    }
    Cursor at = {args.weights, args.prefetch, args.x, args.x_sums, args.x_shifts, args.x_stride, args.x_block_stride};
    for (int64_t k = 0; k < args.k; k += group) {
      const Header<!kPerRow && kLines == kStreamed> header(at.weights, layout, column);
      for (int64_t i = 0; kLines > 0 && i < header_bytes; i += kStepBytes / 2) {
        at.prefetch = Prefetch<(kLines + 1) / 2>(at.prefetch);
      }
      at.weights += header_bytes;
      for (int64_t b = 0; b < group; b += block) {
        Int sums[kRows][kColumns];
        Block<kInt4, kLines>(block, offset, column, at, sums);
#pragma GCC unroll 16
        for (int c = 0; c < kColumns; ++c) {
          if constexpr (kPerRow) {
#pragma GCC unroll 6
            for (int r = 0; r < kRows; ++r) totals[r][c] = Unit::Add(totals[r][c], Unit::ToFloat(sums[r][c]));
          } else {
            const Float scale = header.Scale(c);
#pragma GCC unroll 6
            for (int r = 0; r < kRows; ++r) totals[r][c] = Unit::Fma(Unit::ToFloat(sums[r][c]), scale, totals[r][c]);
          }
        }
        if (!kPerRow && format.has_minima) {
#pragma GCC unroll 16
          for (int c = 0; c < kColumns; ++c) {
            const Float minimum = header.Minimum(c);
#pragma GCC unroll 6
            for (int r = 0; r < kRows; ++r) {
              const int64_t x_block = r * at.x_block_stride;
              const Float x_sum =
                  Unit::SplatFloat(static_cast<float>(at.x_sums[x_block] * (1 << at.x_shifts[x_block])));
              totals[r][c] = Unit::Fma(x_sum, minimum, totals[r][c]);
            }
          }
        }
        ++at.x_sums;
        ++at.x_shifts;
      }
    }
#pragma GCC unroll 16
    for (int c = 0; c < kColumns; ++c) {
      Float scale = Unit::SplatFloat(1.0f);  // by 1 a sum stays what it is
      if (kPerRow && args.x_scales != nullptr)
        scale = LoadScale(args.scales, ScaleType::kFloat32, column + c * Unit::kLanes);
#pragma GCC unroll 6
      for (int r = 0; r < kRows; ++r) {
        const Float x_scale = Unit::SplatFloat(args.x_scales == nullptr ? 1.0f : args.x_scales[r]);
        Unit::StoreFloat(Unit::Multiply(Unit::Multiply(totals[r][c], scale), x_scale),
                         args.sums + r * kPanelColumns + column + c * Unit::kLanes);
      }
    }
  }
};

}  // namespace slmmesh::kernels
