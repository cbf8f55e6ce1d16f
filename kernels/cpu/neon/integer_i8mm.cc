// Armv8.6's matrix products of bytes: smmla multiplies two rows by two columns over eight k.
#include <arm_neon.h>

#include <algorithm>

#include "kernels/cpu/integer_rows.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/least_rows.h"
#include "kernels/cpu/neon/vec16.h"

namespace slmmesh::kernels {
namespace {

class Unit {
 public:
  static constexpr int kRows = 4;  // 4 x 16 sums are half of the registers
  static constexpr int kStep = 8;
  using Vec16 = neon::Vec16;
  static Vec16 LoadInts(const int32_t* p) {
    return Vec16::Each([&](int i) { return vcvtq_f32_s32(vld1q_s32(p + 4 * i)); });
  }
  static Vec16 LoadHalf(const uint16_t* p) {
    return Vec16::Each([&](int i) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p + 4 * i))); });
  }

  void SetShape(int64_t rows, int64_t block) {
    rows_ = rows;
    block_ = block;
  }

  template <int kSlot>
  [[gnu::always_inline]] void Multiply(const int8_t* x, int64_t x_stride, const uint32_t* weights,
                                       int32_t (&products)[kRows][16]) const {
    const int8_t* row[kRows];  // one that is not there is the last
    for (int64_t r = 0; r < kRows; ++r) row[r] = x + std::min(r, rows_ - 1) * x_stride;
    const int8_t* w = reinterpret_cast<const int8_t*>(weights);
    int32x4_t sums[2][8];  // two rows by two columns each
#pragma GCC unroll 2
    for (int pair = 0; pair < 2; ++pair) {
#pragma GCC unroll 8
      for (int c = 0; c < 8; ++c) sums[pair][c] = vdupq_n_s32(0);
    }
    for (int64_t k = 0; k < block_; k += kStep, w += kPanelColumns * kStep) {
      const int8x16_t x01 = vcombine_s8(vld1_s8(row[0] + k), vld1_s8(row[1] + k));
      const int8x16_t x23 = vcombine_s8(vld1_s8(row[2] + k), vld1_s8(row[3] + k));
#pragma GCC unroll 8
      for (int c = 0; c < 8; ++c) {
        const int8x16_t columns = vld1q_s8(w + 16 * c);
        sums[0][c] = vmmlaq_s32(sums[0][c], x01, columns);
        sums[1][c] = vmmlaq_s32(sums[1][c], x23, columns);
      }
    }
#pragma GCC unroll 2
    for (int pair = 0; pair < 2; ++pair) {
#pragma GCC unroll 4
      for (int c = 0; c < 4; ++c) {
        const int64x2_t left = vreinterpretq_s64_s32(sums[pair][2 * c]);
        const int64x2_t right = vreinterpretq_s64_s32(sums[pair][2 * c + 1]);
        vst1q_s32(products[2 * pair] + 4 * c, vreinterpretq_s32_s64(vzip1q_s64(left, right)));
        vst1q_s32(products[2 * pair + 1] + 4 * c, vreinterpretq_s32_s64(vzip2q_s64(left, right)));
      }
    }
  }

 private:
  int64_t rows_ = 0, block_ = 0;
};

}  // namespace

const KernelTable& NeonI8mmKernels() {
  static const KernelTable table = [] {
    KernelTable result = NeonDotprodKernels();
    result.isa = Isa::kNeonI8mm;
    result.integer.rows = IntegerRows<Unit>::Run;
    result.integer.least_rows = MeasureLeastRows(result.integer);  // below, sdot need not rearrange the weights
    return result;
  }();
  return table;
}

}  // namespace slmmesh::kernels
