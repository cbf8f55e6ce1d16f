// The one order in which ranks' partial sums are joined, whatever the transport.
#pragma once

#include <cstddef>

#include "absl/types/span.h"

namespace slmmesh {

constexpr int kMaxRanks = 8;

// out[i] = sum(0, n) over parts (one entry a rank, null: absent, at least one present), where
// sum(lo, hi) = sum(lo, mid) + sum(mid, hi), mid = (lo + hi) / 2, and an absent part is left out, not added as a zero.
// `out` may be one of the parts.
void SumByHalving(absl::Span<const float* const> parts, size_t count, float* out);

}  // namespace slmmesh
