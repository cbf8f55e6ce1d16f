#include "worker/quantize/error_spread.h"

#include <assert.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "worker/quantize/quantize.h"
#include "worker/quantize/vector_clones.h"

namespace slmmesh {
namespace {

using kernels::WeightFormat;
using kernels::WeightType;

// Of the mean of the diagonal, added to it: columns that always move together cannot make good each other's errors.
constexpr double kDamping = 0.01;

MESH_VECTOR_CLONES double Dot(const double* a, const double* b, int64_t count) { return DotInLanes<8>(a, b, count); }

MESH_VECTOR_CLONES void AddScaled(const double* from, double factor, int64_t count, double* to) {
  for (int64_t i = 0; i < count; ++i) to[i] += factor * from[i];
}

MESH_VECTOR_CLONES void AddScaled(const float* from, float factor, int64_t count, float* to) {
  for (int64_t i = 0; i < count; ++i) to[i] += factor * from[i];
}

// The upper triangular R with H = R R^T, in place of H's upper half. False unless H is positive definite.
bool FactorInPlace(std::vector<double>& h, int64_t n) {
  for (int64_t j = n - 1; j >= 0; --j) {
    double* row_j = &h[static_cast<size_t>(j * n)];
    const int64_t behind = n - 1 - j;
    const double pivot = row_j[j] - Dot(row_j + j + 1, row_j + j + 1, behind);
    if (!(pivot > 0) || !std::isfinite(pivot)) return false;
    row_j[j] = std::sqrt(pivot);
    for (int64_t i = 0; i < j; ++i) {
      double* row_i = &h[static_cast<size_t>(i * n)];
      row_i[j] = (row_i[j] - Dot(row_i + j + 1, row_j + j + 1, behind)) / row_j[j];
    }
  }
  return true;
}

// R^-1, upper triangular.
std::vector<double> Inverse(const std::vector<double>& r, int64_t n) {
  std::vector<double> inverse(r.size());
  for (int64_t i = n - 1; i >= 0; --i) {
    const double* row = &r[static_cast<size_t>(i * n)];
    double* to = &inverse[static_cast<size_t>(i * n)];
    for (int64_t l = i + 1; l < n; ++l) AddScaled(&inverse[static_cast<size_t>(l * n + l)], row[l], n - l, to + l);
    for (int64_t j = i + 1; j < n; ++j) to[j] /= -row[i];
    to[i] = 1 / row[i];
  }
  return inverse;
}

}  // namespace

std::optional<ErrorSpread> ErrorSpread::Create(const std::vector<float>& moments, int64_t columns) {
  assert(static_cast<int64_t>(moments.size()) == columns * columns);
  const auto moment = [&](int64_t i, int64_t j) {
    return static_cast<double>(moments[static_cast<size_t>(i * columns + j)]);
  };
  double mean = 0;
  for (int64_t i = 0; i < columns; ++i) mean += moment(i, i) / static_cast<double>(columns);
  if (mean == 0) mean = 1;  // no inputs at all: every error costs the same
  std::vector<int64_t> order(static_cast<size_t>(columns));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return moment(a, a) > moment(b, b); });

  std::vector<double> h(moments.size());
  for (int64_t i = 0; i < columns; ++i) {
    for (int64_t j = i; j < columns; ++j) {
      h[static_cast<size_t>(i * columns + j)] =
          moment(order[static_cast<size_t>(i)], order[static_cast<size_t>(j)]) + (i == j ? kDamping * mean : 0);
    }
  }
  if (!FactorInPlace(h, columns)) return std::nullopt;
  const std::vector<double> inverse = Inverse(h, columns);
  return ErrorSpread(std::move(order), std::vector<float>(inverse.begin(), inverse.end()));
}

void ErrorSpread::QuantizeRows(const WeightFormat& format, const float* values, int64_t rows, int8_t* quants,
                               float* scales) const {
  assert(format.is_integer() && !format.has_minima);
  const int64_t n = columns();
  const int64_t group = format.group == 0 ? n : format.group;
  const float low = format.type == WeightType::kInt4 ? -8 : -127, high = format.type == WeightType::kInt4 ? 7 : 127;
  slmmesh::QuantizeRows(format, values, rows, n, quants, scales, nullptr);
  std::vector<float> ordered(static_cast<size_t>(rows * n));
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t i = 0; i < n; ++i) ordered[static_cast<size_t>(row * n + i)] = values[row * n + order_[i]];
  }
  for (int64_t i = 0; i < n; ++i) {
    const int64_t column = order_[static_cast<size_t>(i)];
    const float* factor = &factor_[static_cast<size_t>(i * n)];
    for (int64_t row = 0; row < rows; ++row) {
      float* value = &ordered[static_cast<size_t>(row * n + i)];
      const float scale = scales[(row * n + column) / group];
      const float quant = scale == 0 ? 0 : std::clamp(std::nearbyint(*value / scale), low, high);
      quants[row * n + column] = static_cast<int8_t>(quant);
      const float error = (*value - scale * quant) / factor[i];
      AddScaled(factor + i + 1, -error, n - 1 - i, value + 1);
    }
  }
}

}  // namespace slmmesh
