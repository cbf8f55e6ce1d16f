#include "worker/collective/halving_sum.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace slmmesh {
namespace {

constexpr size_t kTile = 1024;  // floats: the inner sums of a tile stay in the first-level cache
using Tile = std::array<float, kTile>;

// Where sum(lo, hi) of the tile at `offset` lies: in a part itself, or in `scratch`. Null: no part is present.
const float* SumRange(absl::Span<const float* const> parts, size_t lo, size_t hi, size_t offset, size_t count,
                      float* scratch) {
  if (hi - lo == 1) return parts[lo] == nullptr ? nullptr : parts[lo] + offset;
  const size_t mid = (lo + hi) / 2;
  Tile left_scratch;
  Tile right_scratch;
  const float* left = SumRange(parts, lo, mid, offset, count, left_scratch.data());
  const float* right = SumRange(parts, mid, hi, offset, count, right_scratch.data());
  if (left == nullptr || right == nullptr) {
    const float* present = left == nullptr ? right : left;
    if (present == left_scratch.data() || present == right_scratch.data()) {
      std::memcpy(scratch, present, count * sizeof(float));  // outlives this frame
      return scratch;
    }
    return present;
  }
  for (size_t i = 0; i < count; ++i) scratch[i] = left[i] + right[i];
  return scratch;
}

}  // namespace

void SumByHalving(absl::Span<const float* const> parts, size_t count, float* out) {
  if (parts.size() == 2 && parts[0] != nullptr && parts[1] != nullptr) {  // the common case, without tiles
    const float* a = parts[0];
    const float* b = parts[1];
    for (size_t i = 0; i < count; ++i) out[i] = a[i] + b[i];
    return;
  }
  for (size_t offset = 0; offset < count; offset += kTile) {
    const size_t tile = std::min(kTile, count - offset);
    // Element i of `out` is written after element i of every part was read, so `out` may be a part.
    const float* sum = SumRange(parts, 0, parts.size(), offset, tile, out + offset);
    if (sum != out + offset) std::memmove(out + offset, sum, tile * sizeof(float));
  }
}

}  // namespace slmmesh
