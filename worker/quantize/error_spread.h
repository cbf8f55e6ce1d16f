// Rounding that looks at what a matrix is multiplied with (GPTQ, Frantar et al. 2022): the error of each column is made
// good, as far as it can be, by the columns that are not rounded yet.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "kernels/weight_format.h"

namespace slmmesh {

// What the inputs' moments say of a matrix's columns. Immutable: may be shared by threads.
class ErrorSpread {
 public:
  // `moments`: X^T X [columns, columns] of the inputs X, symmetric. Nothing if they are not finite.
  static std::optional<ErrorSpread> Create(const std::vector<float>& moments, int64_t columns);

  // As QuantizeRows, with its scales and in an order of columns that begins with those of the largest inputs. The
  // format has no minima.
  void QuantizeRows(const kernels::WeightFormat& format, const float* values, int64_t rows, int8_t* quants,
                    float* scales) const;

 private:
  ErrorSpread(std::vector<int64_t> order, std::vector<float> factor)
      : order_(std::move(order)), factor_(std::move(factor)) {}

  int64_t columns() const { return static_cast<int64_t>(order_.size()); }

  std::vector<int64_t> order_;  // the columns, as they are rounded
  // U [columns, columns] in that order, upper triangular: the moments' inverse is U^T U. An error of column i, divided
  // by U[i][i], times U[i][j] is what column j takes over.
  std::vector<float> factor_;
};

}  // namespace slmmesh
