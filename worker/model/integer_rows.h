// Rows of a matrix source as quants and scales: those that the checkpoint holds, or made from its fp32 values.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "kernels/weight_format.h"
#include "worker/model/matrix_format.h"
#include "worker/model/matrix_source.h"

namespace slmmesh {

// Keeps its capacity from panel to panel.
struct IntegerRows {
  std::vector<int8_t> quants;         // [count, columns]
  std::vector<float> scales, minima;  // [count, columns / group], [count] without groups; minima empty: none

  kernels::QuantizedRows View(int64_t count) const {
    return {quants.data(), scales.data(), minima.empty() ? nullptr : minima.data(), count};
  }
};

// Rows [first, first + count) of the source. INVALID_ARGUMENT naming the tensor when a value, a scale or a minimum is
// NaN or infinite.
absl::Status ReadIntegerRows(const MatrixSource& source, const MatrixFormat& format, int64_t first, int64_t count,
                             IntegerRows* out);

}  // namespace slmmesh
