#include "worker/quantize/error_spread.h"

#include <gtest/gtest.h>

#include <cmath>
#include <iostream>
#include <random>

#include "worker/quantize/quantize.h"

namespace slmmesh {
namespace {

using kernels::ScaleType;
using kernels::WeightFormat;
using kernels::WeightType;

constexpr uint64_t kSeed = 3;

// Inputs whose columns move together and differ in size, [rows, columns].
std::vector<float> Inputs(int64_t rows, int64_t columns) {
  std::mt19937_64 random(kSeed);
  std::vector<float> inputs(static_cast<size_t>(rows * columns));
  for (int64_t row = 0; row < rows; ++row) {
    float last = 0;
    for (int64_t c = 0; c < columns; ++c) {
      const float noise = static_cast<float>(random() >> 40) * 0x1p-23f - 1;
      last = 0.8f * last + noise;
      inputs[static_cast<size_t>(row * columns + c)] = last * (c % 7 == 0 ? 5.0f : 1.0f);
    }
  }
  return inputs;
}

std::vector<float> Moments(const std::vector<float>& inputs, int64_t columns) {
  std::vector<float> moments(static_cast<size_t>(columns * columns));
  for (size_t row = 0; row < inputs.size(); row += static_cast<size_t>(columns)) {
    for (int64_t i = 0; i < columns; ++i) {
      for (int64_t j = 0; j < columns; ++j) {
        moments[static_cast<size_t>(i * columns + j)] += inputs[row + i] * inputs[row + j];
      }
    }
  }
  return moments;
}

// Of the outputs, squared.
double OutputError(const std::vector<float>& inputs, const std::vector<float>& weights,
                   const std::vector<int8_t>& quants, const std::vector<float>& scales, int64_t columns) {
  const size_t group = weights.size() / scales.size();
  double sum = 0;
  for (size_t x = 0; x < inputs.size(); x += static_cast<size_t>(columns)) {
    for (size_t w = 0; w < weights.size(); w += static_cast<size_t>(columns)) {
      double error = 0;
      for (size_t c = 0; c < static_cast<size_t>(columns); ++c) {
        const double rounded = static_cast<double>(scales[(w + c) / group]) * quants[w + c];
        error += inputs[x + c] * (rounded - weights[w + c]);
      }
      sum += error * error;
    }
  }
  return sum;
}

TEST(ErrorSpread, OutputsAreCloserThanByRoundingToTheNearest) {
  std::cout << "seed " << kSeed << "\n";
  constexpr int64_t kRows = 8, kColumns = 64;
  const std::vector<float> inputs = Inputs(512, kColumns);
  std::mt19937_64 random(kSeed);
  std::vector<float> weights(kRows * kColumns);
  for (float& weight : weights) weight = static_cast<float>(random() >> 40) * 0x1p-23f - 1;
  const auto spread = ErrorSpread::Create(Moments(inputs, kColumns), kColumns);
  ASSERT_TRUE(spread.has_value());
  const WeightFormat kFormats[] = {{WeightType::kInt4, 32, ScaleType::kFloat16, false},
                                   {WeightType::kInt8, 0, ScaleType::kFloat32, false}};
  for (const WeightFormat& format : kFormats) {
    const size_t groups = format.group == 0 ? kRows : weights.size() / static_cast<size_t>(format.group);
    std::vector<int8_t> nearest(weights.size()), spread_out(weights.size());
    std::vector<float> scales(groups), same_scales(groups);
    QuantizeRows(format, weights.data(), kRows, kColumns, nearest.data(), scales.data(), nullptr);
    spread->QuantizeRows(format, weights.data(), kRows, spread_out.data(), same_scales.data());
    EXPECT_EQ(scales, same_scales);
    const double of_nearest = OutputError(inputs, weights, nearest, scales, kColumns);
    const double of_spread = OutputError(inputs, weights, spread_out, scales, kColumns);
    std::cout << "to the nearest " << of_nearest << ", spread " << of_spread << "\n";
    EXPECT_LT(of_spread, 0.6 * of_nearest);
  }
}

// Inputs that have nothing to do with each other leave nothing to make good.
TEST(ErrorSpread, IndependentColumnsAreRoundedToTheNearest) {
  constexpr int64_t kColumns = 32;
  std::vector<float> moments(kColumns * kColumns);
  for (int64_t i = 0; i < kColumns; ++i) moments[static_cast<size_t>(i * (kColumns + 1))] = static_cast<float>(i);
  const auto spread = ErrorSpread::Create(moments, kColumns);
  ASSERT_TRUE(spread.has_value());
  std::mt19937_64 random(kSeed);
  std::vector<float> weights(kColumns);
  for (float& weight : weights) weight = static_cast<float>(random() >> 40) * 0x1p-23f - 1;
  std::vector<int8_t> nearest(kColumns), spread_out(kColumns);
  float scale;
  const WeightFormat format(WeightType::kInt4, 32, ScaleType::kFloat32, false);
  QuantizeRows(format, weights.data(), 1, kColumns, nearest.data(), &scale, nullptr);
  spread->QuantizeRows(format, weights.data(), 1, spread_out.data(), &scale);
  EXPECT_EQ(nearest, spread_out);
}

TEST(ErrorSpread, InputsThatSayNothing) {
  EXPECT_TRUE(ErrorSpread::Create(std::vector<float>(16), 4).has_value());
  std::vector<float> moments(16, 1.0f);  // four columns that are always equal
  EXPECT_TRUE(ErrorSpread::Create(moments, 4).has_value());
  moments[5] = INFINITY;
  EXPECT_FALSE(ErrorSpread::Create(moments, 4).has_value());
  moments[5] = NAN;
  EXPECT_FALSE(ErrorSpread::Create(moments, 4).has_value());
}

}  // namespace
}  // namespace slmmesh
