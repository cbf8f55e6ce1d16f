// Reads matrices from a checkpoint into packed form, panel by panel, on a few threads: never a whole matrix in fp32.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "kernels/backend.h"
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

  int64_t rows() const;
};

// Fills row by row until `count` rows from `first` are in out [count, columns]. INVALID_ARGUMENT naming the tensor when
// a value is NaN or infinite.
absl::Status ReadRows(const MatrixSource& source, int64_t first, int64_t count, float* out);

// Collects the matrices, then packs all their panels. Not thread-safe.
class PanelLoader {
 public:
  PanelLoader(const kernels::Backend* backend, kernels::WeightType type) : backend_(backend), type_(type) {}

  // `packed` null: the values are only checked.
  void Add(MatrixSource source, void* packed);

  // The first error ends the load. `progress` (or null) is called on this thread with fractions up to 1.
  absl::Status Run(const std::function<void(double fraction)>& progress);

 private:
  struct Matrix {
    MatrixSource source;
    void* packed;
    int64_t first_panel;  // among the panels of all matrices
  };
  const Matrix& MatrixOf(int64_t panel) const;
  absl::Status LoadPanel(int64_t panel, std::vector<float>* rows) const;

  const kernels::Backend* backend_;
  kernels::WeightType type_;
  std::vector<Matrix> matrices_;
  int64_t num_panels_ = 0;
};

}  // namespace slmmesh
