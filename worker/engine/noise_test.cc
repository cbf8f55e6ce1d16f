#include "worker/engine/noise.h"

#include <gtest/gtest.h>

#include <cmath>
#include <iostream>
#include <limits>
#include <random>

namespace slmmesh {
namespace {

// Seeded answers are promised to stay: these bits may never change.
TEST(NoiseTest, UsesOfOneTokenHaveNoiseOfTheirOwn) {
  const NoiseKey choice = MakeNoiseKey(7, 5), accept = MakeNoiseKey(7, 5, NoiseUse::kAccept),
                 resample = MakeNoiseKey(7, 5, NoiseUse::kResample);
  EXPECT_NE(choice.first, accept.first);
  EXPECT_NE(choice.first, resample.first);
  EXPECT_NE(accept.first, resample.first);
  EXPECT_EQ(choice.first, MakeNoiseKey(7, 5, NoiseUse::kChoice).first);
}

TEST(NoiseTest, GoldenValues) {
  const auto noise = [](uint64_t seed, uint64_t index, uint32_t token) {
    return GumbelNoise(NoiseBits(MakeNoiseKey(seed, index), token));
  };
  EXPECT_EQ(NoiseBits(MakeNoiseKey(0, 0), 0), 535004646u);
  EXPECT_EQ(NoiseBits(MakeNoiseKey(0, 0), 1), 1502751806u);
  EXPECT_EQ(NoiseBits(MakeNoiseKey(42, 7), 151935), 1683174105u);
  EXPECT_EQ(NoiseBits(MakeNoiseKey(~uint64_t{0}, 1u << 20), 3), 1842616780u);
  EXPECT_EQ(noise(0, 0, 0), -0x1.77b109f039fb2p-1);
  EXPECT_EQ(noise(0, 0, 1), -0x1.90d3ed0c9332ep-5);
  EXPECT_EQ(noise(42, 7, 151935), 0x1.0b92a84aa6e07p-4);
  EXPECT_EQ(noise(~uint64_t{0}, 1u << 20, 3), 0x1.55e06804d55ebp-3);
}

TEST(NoiseTest, LogAgreesWithTheLibrary) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 1'000'000; ++i) {
    const double x = std::exp((static_cast<double>(random() >> 11) * 0x1p-53 - 0.5) * 1400);
    const double expected = std::log(x);
    // Near 1 the logarithm is small and its error is relative to it; elsewhere to the sum of exponent and series.
    ASSERT_NEAR(Log(x), expected, 4e-16 * (1 + std::abs(expected))) << x;
  }
  for (double distance = 0x1p-33; distance < 0.25; distance *= 1.0001) {
    const double x = 1 - distance;
    ASSERT_NEAR(Log(x) / std::log1p(-(1 - x)), 1, 1e-15) << distance;
  }
}

TEST(NoiseTest, ExpAgreesWithTheLibrary) {
  for (float x = 0; x > -87; x -= 0.00037f) {
    ASSERT_NEAR(static_cast<double>(ExpNonPositive(x)) / std::exp(static_cast<double>(x)), 1, 3e-7) << x;
  }
  EXPECT_EQ(ExpNonPositive(0), 1.0f);
  EXPECT_LT(ExpNonPositive(-std::numeric_limits<float>::infinity()), 1e-37f);
  EXPECT_LT(ExpNonPositive(std::numeric_limits<float>::quiet_NaN()), 1e-37f);
}

// The sampler skips a token by its bound alone: one bound too low would change answers.
TEST(NoiseTest, BoundIsNeverBelowTheNoise) {
  const auto check = [](uint32_t bits) {
    const double exact = GumbelNoise(bits), bound = GumbelBound(bits);
    ASSERT_GE(bound, exact + 2e-5) << bits;           // what is left of its slack covers the rounding of score sums
    if (bits <= 0xf0000000u || bits > ~100u) return;  // elsewhere it is looser, and rarely used
    ASSERT_LE(bound, exact + 0.1) << bits;
  };
  std::mt19937 random(2);
  for (int i = 0; i < 2'000'000; ++i) ASSERT_NO_FATAL_FAILURE(check(random()));
  for (uint32_t low = 0; low < 100'000; ++low) {
    ASSERT_NO_FATAL_FAILURE(check(low));
    ASSERT_NO_FATAL_FAILURE(check(~low));
  }
  for (int bit = 0; bit < 32; ++bit) {
    for (uint32_t offset = 0; offset < 200; ++offset) ASSERT_NO_FATAL_FAILURE(check(~((1u << bit) + offset - 100)));
  }
}

TEST(NoiseTest, RisesWithItsBits) {
  double previous = GumbelNoise(0);
  EXPECT_NEAR(previous, -3.13, 0.01);
  for (uint64_t bits = 1; bits < (uint64_t{1} << 32); bits += 65'521) {
    const double noise = GumbelNoise(static_cast<uint32_t>(bits));
    ASSERT_GT(noise, previous);
    previous = noise;
  }
  EXPECT_NEAR(GumbelNoise(UINT32_MAX), 22.87, 0.01);
}

// Along each of the three keys the bits must look uniform and neighbours unrelated. For n independent uniforms the mean
// of the product of centred neighbours has standard deviation 1 / (12 √n): 5 of them are allowed.
TEST(NoiseTest, NeighboursAreUnrelated) {
  constexpr int kCount = 1 << 20;
  const auto check = [](const char* along, auto bits_at) {
    double mean = 0, product = 0;
    double previous = 0;
    for (int i = 0; i < kCount; ++i) {
      const double centred = (static_cast<double>(bits_at(i)) + 0.5) * 0x1p-32 - 0.5;
      mean += centred / kCount;
      product += centred * previous / kCount;
      previous = centred;
    }
    EXPECT_LT(std::abs(mean), 5 / std::sqrt(12.0 * kCount)) << along;
    EXPECT_LT(std::abs(product), 5 / (12 * std::sqrt(1.0 * kCount))) << along;
  };
  check("token ids", [](int i) { return NoiseBits(MakeNoiseKey(5, 9), static_cast<uint32_t>(i)); });
  check("token indices", [](int i) { return NoiseBits(MakeNoiseKey(5, static_cast<uint64_t>(i)), 77); });
  check("seeds", [](int i) { return NoiseBits(MakeNoiseKey(static_cast<uint64_t>(i), 9), 77); });
}

}  // namespace
}  // namespace slmmesh
