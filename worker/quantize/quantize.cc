#include "worker/quantize/quantize.h"

#include <assert.h>

#include <algorithm>
#include <cmath>

#include "worker/quantize/small_floats.h"

namespace slmmesh {
namespace {

using kernels::ScaleType;
using kernels::WeightFormat;
using kernels::WeightType;

// Sums run over lanes of their own and then over the lanes, so that they are one order of additions on every machine,
// and still vectors.
constexpr int64_t kLanes = 16;

// To the nearest integer, ties to even, for |x| < 2^22. Unlike nearbyint, the compiler vectorises it.
float RoundToInteger(float x) { return (x + 0x1.8p23f) - 0x1.8p23f; }

float RoundScale(ScaleType type, float value) {
  return type == ScaleType::kFloat16 ? HalfToFloat(RoundToHalf(value)) : value;
}

struct Steps {
  float low, high;  // the quants' range
};

float Quant(float value, float scale, Steps steps) {
  return std::clamp(RoundToInteger(std::clamp(value / scale, steps.low, steps.high)), steps.low, steps.high);
}

void Quantize(const float* values, int64_t count, float scale, float minimum, Steps steps, int8_t* quants) {
  if (scale == 0) {  // all values are the minimum, or too small for the scale's type
    std::fill_n(quants, count, int8_t{0});
    return;
  }
  for (int64_t i = 0; i < count; ++i) quants[i] = static_cast<int8_t>(Quant(values[i] - minimum, scale, steps));
}

// Of the quants that `scale` gives: their squared error, and the scale that fits them best.
struct Fit {
  float error;
  float best_scale;
};

Fit FitOf(const float* values, int64_t count, float scale, Steps steps) {
  float errors[kLanes] = {}, products[kLanes] = {}, squares[kLanes] = {};
  for (int64_t begin = 0; begin < count; begin += kLanes) {
    const int64_t lanes = std::min(kLanes, count - begin);
    for (int64_t lane = 0; lane < lanes; ++lane) {
      const float value = values[begin + lane];
      const float quant = Quant(value, scale, steps);
      const float error = value - scale * quant;
      errors[lane] += error * error;
      products[lane] += value * quant;
      squares[lane] += quant * quant;
    }
  }
  float error = 0, product = 0, square = 0;
  for (int64_t lane = 0; lane < kLanes; ++lane) {
    error += errors[lane];
    product += products[lane];
    square += squares[lane];
  }
  return {error, square == 0 ? scale : product / square};
}

// The value that is furthest from zero, with its sign.
float Extreme(const float* values, int64_t count) {
  const auto [low, high] = std::minmax_element(values, values + count);
  return -*low > *high ? *low : *high;
}

// -8 … 7 reach further on one side, so the extreme may lie there; a little beyond the range, to the benefit of the many
// small values; or, where the other side has a value nearly as large, at 7.
float Int4Scale(const float* values, int64_t count, ScaleType scale_type, Steps steps) {
  constexpr float kQuantsOfExtreme[] = {-8.0f, 7.0f, -7.0f, -7.5f, -8.5f, -9.0f, -10.0f};
  const float extreme = Extreme(values, count);
  float best_scale = 0;
  float best_error = INFINITY;
  const auto consider = [&](float wish) {
    const float scale = RoundScale(scale_type, wish);
    if (scale == 0) return scale;
    const Fit fit = FitOf(values, count, scale, steps);
    if (fit.error < best_error) {
      best_error = fit.error;
      best_scale = scale;
    }
    return fit.best_scale;
  };
  float fitted[std::size(kQuantsOfExtreme)];
  for (size_t i = 0; i < std::size(kQuantsOfExtreme); ++i) fitted[i] = consider(extreme / kQuantsOfExtreme[i]);
  for (const float scale : fitted) consider(scale);
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
