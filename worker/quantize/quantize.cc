#include "worker/quantize/quantize.h"

#include <assert.h>

#include <algorithm>
#include <cmath>

#include "worker/quantize/small_floats.h"
#include "worker/quantize/vector_clones.h"

namespace slmmesh {
namespace {

using kernels::ScaleType;
using kernels::WeightFormat;
using kernels::WeightType;

// Sums run over lanes of their own, and the lanes are joined by halving: one order of additions on every machine, and
// still vectors.
constexpr int64_t kLanes = 16;

// To the nearest integer, ties to even, for |x| < 2^22. Unlike nearbyint, the compiler vectorises it.
float RoundToInteger(float x) { return (x + 0x1.8p23f) - 0x1.8p23f; }

// 0 where a scale is so small that its inverse might not be finite.
float RoundScale(ScaleType type, float value) {
  if (std::fabs(value) < 0x1p-100f) return 0;
  return type == ScaleType::kFloat16 ? HalfToFloat(RoundToHalf(value)) : value;
}

struct Steps {
  float low, high;  // the quants' range
};

float Quant(float value, float inverse_scale, Steps steps) {
  return RoundToInteger(std::clamp(value * inverse_scale, steps.low, steps.high));
}

void Quantize(const float* values, int64_t count, float scale, float minimum, Steps steps, int8_t* quants) {
  if (scale == 0) {  // all values are the minimum, or too small for the scale's type
    std::fill_n(quants, count, int8_t{0});
    return;
  }
  const float inverse = 1 / scale;
  for (int64_t i = 0; i < count; ++i) quants[i] = static_cast<int8_t>(Quant(values[i] - minimum, inverse, steps));
}

// Of the quants that `scale` gives: their squared error, and the scale that fits them best.
struct Fit {
  float error;
  float best_scale;
};

MESH_VECTOR_CLONES Fit FitOf(const float* values, int64_t count, float scale, Steps steps) {
  const float inverse = 1 / scale;
  float errors[kLanes] = {}, products[kLanes] = {}, squares[kLanes] = {};
  for (int64_t begin = 0; begin < count; begin += kLanes) {
    const int64_t lanes = std::min(kLanes, count - begin);
    for (int64_t lane = 0; lane < lanes; ++lane) {
      const float value = values[begin + lane];
      const float quant = Quant(value, inverse, steps);
      const float error = value - scale * quant;
      errors[lane] += error * error;
      products[lane] += value * quant;
      squares[lane] += quant * quant;
    }
  }
  for (int64_t half = kLanes / 2; half > 0; half /= 2) {
    for (int64_t lane = 0; lane < half; ++lane) {
      errors[lane] += errors[lane + half];
      products[lane] += products[lane + half];
      squares[lane] += squares[lane + half];
    }
  }
  return {errors[0], squares[0] == 0 ? scale : products[0] / squares[0]};
}

// The value that is furthest from zero, with its sign.
MESH_VECTOR_CLONES float Extreme(const float* values, int64_t count) {
  float low = values[0], high = values[0];
  for (int64_t i = 0; i < count; ++i) {
    low = std::min(low, values[i]);
    high = std::max(high, values[i]);
  }
  return -low > high ? low : high;
}

// -8 … 7 reach further on one side, so the extreme may lie there; a little beyond the range, to the benefit of the many
// small values; or, where the other side has a value nearly as large, at 7. The best of these is fitted to its quants.
float Int4Scale(const float* values, int64_t count, ScaleType scale_type, Steps steps) {
  constexpr float kQuantsOfExtreme[] = {-8.0f, 7.0f, -7.0f, -7.5f, -8.5f, -9.0f, -10.0f};
  const float extreme = Extreme(values, count);
  float best_scale = 0, best_error = INFINITY, fitted = 0;
  const auto consider = [&](float wish) {
    const float scale = RoundScale(scale_type, wish);
    if (scale == 0) return;
    const Fit fit = FitOf(values, count, scale, steps);
    if (fit.error >= best_error) return;
    best_error = fit.error;
    best_scale = scale;
    fitted = fit.best_scale;
  };
  for (const float quant : kQuantsOfExtreme) consider(extreme / quant);
  consider(fitted);
  return best_scale;
}

void QuantizeSymmetric(const WeightFormat& format, const float* values, int64_t count, int8_t* quants, float* scale) {
  if (format.type == WeightType::kInt4) {
    constexpr Steps kSteps = {-8, 7};
    *scale = Int4Scale(values, count, format.scale_type, kSteps);
    Quantize(values, count, *scale, 0, kSteps, quants);
    return;
  }
  *scale = RoundScale(format.scale_type, std::fabs(Extreme(values, count)) / 127);
  Quantize(values, count, *scale, 0, {-127, 127}, quants);
}

void QuantizeRange(const WeightFormat& format, const float* values, int64_t count, int8_t* quants, float* scale,
                   float* minimum) {
  const Steps steps = format.type == WeightType::kInt4 ? Steps{0, 15} : Steps{-128, 127};
  const auto [low, high] = std::minmax_element(values, values + count);
  const float width = *high / (steps.high - steps.low) - *low / (steps.high - steps.low);  // no overflow on the way
  *scale = RoundScale(format.scale_type, width);
  *minimum = RoundScale(format.scale_type, *low - *scale * steps.low);  // the value of quant 0
  Quantize(values, count, *scale, *minimum, steps, quants);
}

}  // namespace

void QuantizeRows(const WeightFormat& format, const float* values, int64_t rows, int64_t columns, int8_t* quants,
                  float* scales, float* minima) {
  assert(format.is_integer() && (minima != nullptr) == format.has_minima);
  const int64_t group = format.group == 0 ? columns : format.group;
  assert(columns > 0 && columns % group == 0);
  for (int64_t i = 0; i < rows * columns / group; ++i) {
    if (format.has_minima) {
      QuantizeRange(format, values + i * group, group, quants + i * group, scales + i, minima + i);
    } else {
      QuantizeSymmetric(format, values + i * group, group, quants + i * group, scales + i);
    }
  }
}

}  // namespace slmmesh
