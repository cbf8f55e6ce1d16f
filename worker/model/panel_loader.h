// Reads matrices from a checkpoint into packed form, panel by panel, on a few threads: never a whole matrix in fp32.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "kernels/backend.h"
#include "worker/model/integer_rows.h"
#include "worker/model/matrix_format.h"
#include "worker/model/matrix_source.h"

namespace slmmesh {

// Collects the matrices, then packs all their panels. Not thread-safe.
class PanelLoader {
 public:
  explicit PanelLoader(const kernels::Backend* backend) : backend_(backend) {}

  void Add(MatrixSource source, const MatrixFormat& format, void* packed);
  void AddCheck(MatrixSource source);  // the values are only checked

  // The first error ends the load. `progress` (or null) is called on this thread with fractions up to 1.
  absl::Status Run(const std::function<void(double fraction)>& progress);

 private:
  struct Matrix {
    MatrixSource source;
    MatrixFormat format;
    void* packed;         // null: only checked
    int64_t first_panel;  // among the panels of all matrices
  };
  const Matrix& MatrixOf(int64_t panel) const;
  struct Room {  // of one panel, kept from one to the next
    std::vector<float> values;
    IntegerRows integers;
  };
  absl::Status LoadPanel(int64_t panel, Room* room) const;

  const kernels::Backend* backend_;
  std::vector<Matrix> matrices_;
  int64_t num_panels_ = 0;
};

}  // namespace slmmesh
