// Where the rows of a rank's matrix come from: parts of the checkpoint's tensors, one below the other.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/model/virtual_shards.h"

namespace slmmesh {

// Some rows of a tensor.
struct MatrixPart {
  TensorView tensor;
  UnitRange rows;
};

// The rows of all parts, one below the other, of the same columns. Panels may straddle parts.
struct MatrixSource {
  std::vector<MatrixPart> parts;
  UnitRange columns;

  int64_t rows() const {
    int64_t rows = 0;
    for (const MatrixPart& part : parts) rows += part.rows.size();
    return rows;
  }

  // read(tensor, row_begin, row_end, index): for each part that has some of the rows [first, first + count): which rows
  // of its tensor, and the index of the first among the `count`.
  template <typename Read>
  absl::Status ForRows(int64_t first, int64_t count, const Read& read) const {
    int64_t part_first = 0;  // row of the source at which the part begins
    for (const MatrixPart& part : parts) {
      const int64_t begin = std::max(first, part_first);
      const int64_t end = std::min(first + count, part_first + part.rows.size());
      const int64_t shift = part.rows.begin - part_first;
      if (begin < end) {
        if (absl::Status status = read(part.tensor, begin + shift, end + shift, begin - first); !status.ok()) {
          return status;
        }
      }
      part_first += part.rows.size();
    }
    return absl::OkStatus();
  }
};

// INVALID_ARGUMENT naming the tensor when a value is NaN or infinite.
absl::Status CheckFinite(const TensorView& tensor, absl::Span<const float> values);

// Fills row by row until `count` rows from `first` are in out [count, columns]; checks them as CheckFinite does.
absl::Status ReadRows(const MatrixSource& source, int64_t first, int64_t count, float* out);

}  // namespace slmmesh
