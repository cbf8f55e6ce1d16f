#include "worker/quantize/quantize.h"

#include <gtest/gtest.h>

#include <cmath>
#include <iostream>
#include <random>
#include <vector>

#include "worker/quantize/small_floats.h"

namespace slmmesh {
namespace {

using kernels::ScaleType;
using kernels::WeightFormat;
using kernels::WeightType;

constexpr uint64_t kSeed = 5;

// Roughly normal, by arithmetic that is the same everywhere.
std::vector<float> NormalValues(size_t count, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<float> values(count);
  for (float& value : values) {
    int64_t sum = 0;
    for (int i = 0; i < 8; ++i) sum += static_cast<int64_t>(random() >> 40) - (1 << 23);
    value = static_cast<float>(sum) * 0x1p-26f;
  }
  return values;
}

struct Quantized {
  std::vector<int8_t> quants;
  std::vector<float> scales;
  std::vector<float> minima;
};

Quantized Quantize(const WeightFormat& format, const std::vector<float>& values, int64_t rows) {
  const int64_t columns = static_cast<int64_t>(values.size()) / rows;
  const size_t groups = static_cast<size_t>(format.group == 0 ? rows : rows * columns / format.group);
  Quantized result{std::vector<int8_t>(values.size()), std::vector<float>(groups),
                   std::vector<float>(format.has_minima ? groups : 0)};
  QuantizeRows(format, values.data(), rows, columns, result.quants.data(), result.scales.data(),
               format.has_minima ? result.minima.data() : nullptr);
  return result;
}

double SquaredError(const std::vector<float>& values, const Quantized& quantized) {
  const size_t group = values.size() / quantized.scales.size();
  double error = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    double value = static_cast<double>(quantized.scales[i / group]) * quantized.quants[i];
    if (!quantized.minima.empty()) value += static_cast<double>(quantized.minima[i / group]);
    error += (value - values[i]) * (value - values[i]);
  }
  return error;
}

TEST(QuantizeRows, Int8MapsTheExtremeTo127) {
  const Quantized quantized =
      Quantize({WeightType::kInt8, 0, ScaleType::kFloat32, false}, {1, -2, 0.5f, 0, 3, 1, 2, -1}, 2);
  EXPECT_EQ(quantized.scales, (std::vector<float>{2.0f / 127, 3.0f / 127}));
  EXPECT_EQ(quantized.quants, (std::vector<int8_t>{64, -127, 32, 0, 127, 42, 85, -42}));
}

TEST(QuantizeRows, EveryFormatIsWithinHalfAStep) {
  std::cout << "seed " << kSeed << "\n";
  const std::vector<float> values = NormalValues(4 * 256, kSeed);
  for (const ScaleType scale_type : {ScaleType::kFloat32, ScaleType::kFloat16}) {
    for (const WeightType type : {WeightType::kInt8, WeightType::kInt4}) {
      for (const bool has_minima : {false, true}) {
        if (type == WeightType::kInt4 && !has_minima) continue;  // it may cut extremes: the test below
        for (const int64_t group : {0, 32, 64, 128}) {
          const Quantized quantized = Quantize({type, group, scale_type, has_minima}, values, 4);
          const size_t columns = values.size() / quantized.scales.size();
          for (size_t i = 0; i < values.size(); ++i) {
            const float scale = quantized.scales[i / columns];
            const float minimum = has_minima ? quantized.minima[i / columns] : 0;
            // fp16's rounding of scale and minimum moves the ends by 2^-11 of the range.
            const float slack = scale_type == ScaleType::kFloat16 ? 0x1p-10f * 4 : 0x1p-20f;
            ASSERT_LE(std::fabs(scale * static_cast<float>(quantized.quants[i]) + minimum - values[i]),
                      scale / 2 + slack)
                << i;
          }
        }
      }
    }
  }
}

TEST(QuantizeRows, ScalesAreExactInTheirType) {
  const std::vector<float> values = NormalValues(1024, kSeed);
  for (const WeightType type : {WeightType::kInt8, WeightType::kInt4}) {
    const Quantized quantized = Quantize({type, 32, ScaleType::kFloat16, true}, values, 2);
    for (const float scale : quantized.scales) EXPECT_EQ(HalfToFloat(RoundToHalf(scale)), scale);
    for (const float minimum : quantized.minima) EXPECT_EQ(HalfToFloat(RoundToHalf(minimum)), minimum);
  }
}

// The search beats both plain choices: the extreme at 7, and at -8 (GGUF's Q4_0).
TEST(QuantizeRows, Int4ChoosesAScaleWithLittleError) {
  std::cout << "seed " << kSeed << "\n";
  for (const size_t group : {32, 128}) {
    const std::vector<float> values = NormalValues(512 * group, kSeed);
    const double chosen = SquaredError(
        values, Quantize({WeightType::kInt4, static_cast<int64_t>(group), ScaleType::kFloat32, false}, values, 1));
    double plain[2] = {};
    for (size_t begin = 0; begin < values.size(); begin += group) {
      float extreme = 0;
      for (size_t i = begin; i < begin + group; ++i) {
        if (std::fabs(values[i]) > std::fabs(extreme)) extreme = values[i];
      }
      const float scales[2] = {extreme / 7, extreme / -8};
      for (int way = 0; way < 2; ++way) {
        for (size_t i = begin; i < begin + group; ++i) {
          const float quant = std::fmin(std::fmax(std::nearbyint(values[i] / scales[way]), -8.0f), 7.0f);
          plain[way] += std::pow(static_cast<double>(quant) * scales[way] - values[i], 2);
        }
      }
    }
    std::cout << "group " << group << ": squared error " << chosen << "; extreme at 7 " << plain[0] << ", at -8 "
              << plain[1] << "\n";
    EXPECT_LT(chosen, 0.95 * plain[0]);
    EXPECT_LT(chosen, 0.95 * plain[1]);
  }
}

TEST(QuantizeRows, WhatIsOnTheGridComesBack) {
  std::mt19937_64 random(kSeed);
  std::vector<float> values(64);
  for (float& value : values) value = 0.0625f * static_cast<float>(static_cast<int>(random() % 16) - 8);
  values[0] = values[32] = -0.5f;
  EXPECT_EQ(SquaredError(values, Quantize({WeightType::kInt4, 32, ScaleType::kFloat16, false}, values, 1)), 0);
}

TEST(QuantizeRows, Zeros) {
  for (const WeightType type : {WeightType::kInt8, WeightType::kInt4}) {
    for (const bool has_minima : {false, true}) {
      const std::vector<float> values(64, 0.0f);
      const Quantized quantized = Quantize({type, 32, ScaleType::kFloat16, has_minima}, values, 1);
      EXPECT_EQ(SquaredError(values, quantized), 0);
    }
  }
}

// Once and for all: these bits on every machine.
TEST(QuantizeRows, TheSameBitsEverywhere) {
  const std::vector<float> values = NormalValues(1024, 9);
  uint64_t hash = 1469598103934665603u;
  const auto add = [&](uint32_t word) { hash = (hash ^ word) * 1099511628211u; };
  for (const WeightType type : {WeightType::kInt8, WeightType::kInt4}) {
    for (const bool has_minima : {false, true}) {
      const Quantized quantized = Quantize({type, 64, ScaleType::kFloat16, has_minima}, values, 4);
      for (const int8_t quant : quantized.quants) add(static_cast<uint8_t>(quant));
      for (const float scale : quantized.scales) add(RoundToHalf(scale));
      for (const float minimum : quantized.minima) add(RoundToHalf(minimum));
    }
  }
  EXPECT_EQ(hash, 10325604026084753480u);
}

TEST(RoundHalf, ComesBackAndRoundsToNearest) {
  for (uint32_t half = 0; half < 0x7c00; ++half) {
    const float value = HalfToFloat(static_cast<uint16_t>(half));
    ASSERT_EQ(RoundToHalf(value), half);
    ASSERT_EQ(RoundToHalf(-value), half | 0x8000u);
    if (half == 0x7bff) continue;
    const float next = HalfToFloat(static_cast<uint16_t>(half + 1));
    const float middle = (value + next) / 2;
    ASSERT_EQ(RoundToHalf(middle), half + half % 2) << "ties to even";
    ASSERT_EQ(RoundToHalf(std::nextafterf(middle, 0)), half);
    ASSERT_EQ(RoundToHalf(std::nextafterf(middle, next)), half + 1);
  }
  EXPECT_EQ(RoundToHalf(1e9f), 0x7bff);
  EXPECT_EQ(RoundToBFloat(1.00390625f), 0x3f80) << "a tie";
  EXPECT_EQ(RoundToBFloat(1.01171875f), 0x3f82) << "a tie";
}

TEST(RoundE4M3, ComesBackAndRoundsToNearest) {
  for (uint32_t bits = 0; bits < 0x7f; ++bits) {
    const float value = E4M3ToFloat(static_cast<uint8_t>(bits));
    ASSERT_EQ(RoundToE4M3(value), bits);
    ASSERT_EQ(RoundToE4M3(-value), bits | 0x80u);
    if (bits == 0x7e) continue;
    const float next = E4M3ToFloat(static_cast<uint8_t>(bits + 1));
    const float middle = (value + next) / 2;
    ASSERT_EQ(RoundToE4M3(middle), bits + bits % 2) << "ties to even";
    ASSERT_EQ(RoundToE4M3(std::nextafterf(middle, 0)), bits);
    ASSERT_EQ(RoundToE4M3(std::nextafterf(middle, next)), bits + 1);
  }
  EXPECT_EQ(RoundToE4M3(1e9f), 0x7e);
}

}  // namespace
}  // namespace slmmesh
