// The integer tile kernel over an instruction set's Unit: kRows x kColumns vectors of sums stay in registers.
//
// A Unit has kLanes columns in a vector of 32-bit lanes and says how a dot product of four bytes a lane is made:
//   Weights LoadInt8(p), LoadLow(p), LoadHigh(p)   four quants of each column, unsigned, but for kInt8IsSigned
//   Activations LoadActivations(p)                 four of one row, for all lanes
//   void Dot(Int& sum, Weights, Activations)
#pragma once

#include <cstdint>

#include "kernels/cpu/integer_layout.h"
#include "kernels/cpu/kernel_table.h"

namespace slmmesh::kernels {

template <typename Unit, int kRows, int kColumns>
class IntegerTile {
 public:
  static void Int8PerRow(const IntegerTileArgs& args) {
    ForStrips(args, []<int kLines>(const IntegerTileArgs& a, int column) { RunPerRow<kLines>(a, column); });
  }
  static void Int8Groups(const IntegerTileArgs& args) {
    ForStrips(args, []<int kLines>(const IntegerTileArgs& a, int column) { RunGroups<false, kLines>(a, column); });
  }
  static void Int4Groups(const IntegerTileArgs& args) {
    ForStrips(args, []<int kLines>(const IntegerTileArgs& a, int column) { RunGroups<true, kLines>(a, column); });
  }

 private:
  using Int = typename Unit::Int;
  using Float = typename Unit::Float;
  static constexpr int kStripColumns = kColumns * Unit::kLanes;
  static constexpr int64_t kStepBytes = 4 * kPanelColumns;
  static constexpr int32_t kOffset8 = Unit::kInt8IsSigned ? 0 : kInt8Offset;

  template <typename Strip>
  static void ForStrips(const IntegerTileArgs& args, Strip strip) {
    switch (args.prefetch_lines) {
      case 0:
        strip.template operator()<0>(args, 0);
        break;
      case 1:
        strip.template operator()<1>(args, 0);
        break;
      case 2:
        strip.template operator()<2>(args, 0);
        break;
      default:
        strip.template operator()<4>(args, 0);
        break;
    }
    for (int column = kStripColumns; column < kPanelColumns; column += kStripColumns) {
      strip.template operator()<0>(args, column);
    }
  }

  template <int kLines>
  static const char* Prefetch(const char* p) {
#pragma GCC unroll 4
    for (int line = 0; line < kLines; ++line) __builtin_prefetch(p + 64 * line);
    return p + 64 * kLines;
  }

  enum class Quants { kInt8, kLow, kHigh };
  // sums += four k of the weights at `weights` times those of x.
  template <Quants kQuants>
  [[gnu::always_inline]] static void Step(const char* weights, const int8_t* x, Int (&sums)[kRows][kColumns]) {
    typename Unit::Weights w[kColumns];
#pragma GCC unroll 4
    for (int c = 0; c < kColumns; ++c) {
      const char* p = weights + 4 * Unit::kLanes * c;
      w[c] = kQuants == Quants::kInt8 ? Unit::LoadInt8(p) : kQuants == Quants::kLow ? Unit::LoadLow(p) : Unit::LoadHigh(p);
    }
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      const typename Unit::Activations four = Unit::LoadActivations(x + 4 * r);
#pragma GCC unroll 4
      for (int c = 0; c < kColumns; ++c) Unit::template Dot<kQuants == Quants::kInt8>(sums[r][c], w[c], four);
    }
  }

  template <int kLines>
  static void RunPerRow(const IntegerTileArgs& args, int column) {
    Int sums[kRows][kColumns];
    int32_t* stored = reinterpret_cast<int32_t*>(args.sums) + column;
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int c = 0; c < kColumns; ++c) {
        sums[r][c] = args.resume ? Unit::LoadInt(stored + r * kPanelColumns + c * Unit::kLanes) : Unit::SplatInt(0);
      }
    }
    const int8_t* x = args.x;
    const char* weights = args.weights + 4 * column;
    const char* prefetch = args.prefetch;
    for (int64_t k = 0; k < args.k; k += 4) {
      prefetch = Prefetch<kLines>(prefetch);
      Step<Quants::kInt8>(weights, x, sums);
      weights += kStepBytes;
      x += 4 * kRows;
    }
    const float* scales = reinterpret_cast<const float*>(args.scales) + column;
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int c = 0; c < kColumns; ++c) {
        if (args.x_scales == nullptr) {
          Unit::StoreInt(sums[r][c], stored + r * kPanelColumns + c * Unit::kLanes);
          continue;
        }
        const Float sum = Unit::ToFloat(Unit::AddInt(sums[r][c], Unit::SplatInt(-kOffset8 * args.x_sums[r])));
        const Float scaled = Unit::Fma(sum, Unit::LoadFloat(scales + c * Unit::kLanes), Unit::SplatFloat(0.0f));
        Unit::StoreFloat(Unit::Multiply(scaled, Unit::SplatFloat(args.x_scales[r])),
                         args.sums + r * kPanelColumns + column + c * Unit::kLanes);
      }
    }
  }

  static Float LoadScale(const char* scales, ScaleType type, int column) {
    return type == ScaleType::kFloat32 ? Unit::LoadFloat(reinterpret_cast<const float*>(scales) + column)
                                       : Unit::LoadHalf(reinterpret_cast<const uint16_t*>(scales) + column);
  }

  template <bool kInt4, int kLines>
  static void RunGroups(const IntegerTileArgs& args, int column) {
    const WeightFormat format = *args.format;
    const IntegerLayout layout(format, args.k);
    const int32_t offset = kInt4 ? Int4Offset(format) : kOffset8;
    const int64_t groups = layout.groups(), header_bytes = layout.header_bytes();
    Float totals[kRows][kColumns];
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int c = 0; c < kColumns; ++c) {
        totals[r][c] = args.resume ? Unit::LoadFloat(args.sums + r * kPanelColumns + column + c * Unit::kLanes)
                                   : Unit::SplatFloat(0.0f);
      }
    }
    const int8_t* x = args.x;
    const int32_t* x_sums = args.x_sums;
    const char* weights = args.weights;
    const char* prefetch = args.prefetch;
    for (int64_t g = 0; g < groups; ++g) {
      const char* header = weights;
      for (int64_t i = 0; kLines > 0 && i < header_bytes; i += kStepBytes / 2) {
        prefetch = Prefetch<(kLines + 1) / 2>(prefetch);
      }
      weights += header_bytes;
      Int sums[kRows][kColumns];
#pragma GCC unroll 6
      for (int r = 0; r < kRows; ++r) {
        const Int start = Unit::SplatInt(-offset * x_sums[r]);
#pragma GCC unroll 4
        for (int c = 0; c < kColumns; ++c) sums[r][c] = start;
      }
      for (int64_t k = 0; k < format.group; k += kInt4 ? 8 : 4) {
        prefetch = Prefetch<kLines>(prefetch);
        Step<kInt4 ? Quants::kLow : Quants::kInt8>(weights + 4 * column, x, sums);
        x += 4 * kRows;
        if constexpr (kInt4) {
          Step<Quants::kHigh>(weights + 4 * column, x, sums);
          x += 4 * kRows;
        }
        weights += kStepBytes;
      }
#pragma GCC unroll 4
      for (int c = 0; c < kColumns; ++c) {
        const Float scale = LoadScale(header, format.scale_type, column + c * Unit::kLanes);
#pragma GCC unroll 6
        for (int r = 0; r < kRows; ++r) totals[r][c] = Unit::Fma(Unit::ToFloat(sums[r][c]), scale, totals[r][c]);
      }
      if (format.has_minima) {
#pragma GCC unroll 4
        for (int c = 0; c < kColumns; ++c) {
          const Float minimum =
              LoadScale(header + layout.scale_bytes(), format.scale_type, column + c * Unit::kLanes);
#pragma GCC unroll 6
          for (int r = 0; r < kRows; ++r) {
            totals[r][c] = Unit::Fma(Unit::SplatFloat(static_cast<float>(x_sums[r])), minimum, totals[r][c]);
          }
        }
      }
      x_sums += kRows;
    }
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      const Float scale = Unit::SplatFloat(args.x_scales == nullptr ? 1.0f : args.x_scales[r]);
#pragma GCC unroll 4
      for (int c = 0; c < kColumns; ++c) {
        Unit::StoreFloat(Unit::Multiply(totals[r][c], scale),  // by 1 it stays what it is
                         args.sums + r * kPanelColumns + column + c * Unit::kLanes);
      }
    }
  }
};

}  // namespace slmmesh::kernels
