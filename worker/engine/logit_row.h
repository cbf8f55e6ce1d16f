// Selection over one row of vocabulary size without sorting it. Everything starts from the maxima of chunks of 64
// values, which one vectorised pass gives; most chunks are then never looked at again. NaN compares below everything.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace slmmesh {

constexpr int64_t kRowChunk = 64;

// maxima[c] = the largest value of chunk c; the last chunk may be short. [ceil(row.size() / 64)]
void ChunkMaxima(absl::Span<const float> row, std::vector<float>* maxima);

// The first index of the largest value. The row is not empty.
uint32_t FirstArgmax(absl::Span<const float> row, absl::Span<const float> maxima);
// The largest value but for that at `argmax`; -infinity where there is no other.
float SecondLargest(absl::Span<const float> row, absl::Span<const float> maxima, uint32_t argmax);

// The k-th largest value (duplicates count), 1 ≤ k ≤ row.size(). -infinity when fewer than k values are numbers.
// `scratch` is memory to work in: fresh memory of this size would cost more than the search.
float KthLargest(absl::Span<const float> row, absl::Span<const float> maxima, uint32_t k, std::vector<float>* scratch);

}  // namespace slmmesh
