// Where the groups of integer weights lie within a panel of 64 columns: one contiguous stream.
//   panel   groups in ascending k; without groups one that spans all k
//   group   scales [64], minima [64] where there are any, quants
//   quants  int8 [group / 4][64][4] as q + 128; int4 [group / 8][64][4]: of each byte the low nibble belongs to the
//           first four k of the eight, the high nibble to the others, as q + 8 (as q where there are minima)
// So every four k of a column are one 32-bit lane of unsigned bytes, what dot-product instructions take.
#pragma once

#include <cstdint>

#include "kernels/backend.h"

namespace slmmesh::kernels {

struct IntegerLayout {
  IntegerLayout(const WeightFormat& format, int64_t k) : format(format), k(k) {}

  WeightFormat format;
  int64_t k;

  // Columns of x that share a shift.
  int64_t block() const { return format.group == 16 ? 16 : 32; }
  int64_t group() const { return format.group == 0 ? k : format.group; }
  int64_t groups() const { return format.group == 0 ? 1 : k / format.group; }
  int64_t scale_bytes() const { return kPanelColumns * (format.scale_type == ScaleType::kFloat32 ? 4 : 2); }
  int64_t header_bytes() const { return scale_bytes() * (format.has_minima ? 2 : 1); }
  int64_t QuantBytes(int64_t columns) const {
    return columns * kPanelColumns / (format.type == WeightType::kInt4 ? 2 : 1);
  }
  int64_t group_bytes() const { return header_bytes() + QuantBytes(group()); }
  int64_t panel_bytes() const { return groups() * group_bytes(); }
};

// Int4 weights that hold the same numbers in a byte each.
inline WeightFormat Widened(const WeightFormat& int4) {
  return {WeightType::kInt8, int4.group, int4.scale_type, int4.has_minima};
}

constexpr int kMaxShift = 7;  // of a block of x
constexpr int32_t kInt8Offset = 128;
inline int32_t Int4Offset(const WeightFormat& format) { return format.has_minima ? 0 : 8; }

}  // namespace slmmesh::kernels
