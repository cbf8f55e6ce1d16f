#include "worker/model/matrix_source.h"

#include <cmath>

#include "absl/strings/str_cat.h"

namespace slmmesh {

absl::Status CheckFinite(const TensorView& tensor, absl::Span<const float> values) {
  if (std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); })) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("tensor ", tensor.name, " holds a NaN or infinite value"));
}

absl::Status ReadRows(const MatrixSource& source, int64_t first, int64_t count, float* out) {
  const UnitRange columns = source.columns;
  return source.ForRows(first, count, [&](const TensorView& tensor, int64_t begin, int64_t end, int64_t index) {
    float* rows = out + index * columns.size();
    ReadTensor(tensor, begin, end, columns.begin, columns.end, rows);
    return CheckFinite(tensor, {rows, static_cast<size_t>((end - begin) * columns.size())});
  });
}

}  // namespace slmmesh
