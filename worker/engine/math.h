// exp and log as fixed sequences of IEEE-754 operations: the same bits on every machine and in every vector width,
// which the C library does not promise. Products and sums are rounded one by one (the build forbids contraction),
// because a fused multiply-add is a slow library call on baseline x86-64. Plain enough for the compiler to vectorise.
#pragma once

#include <bit>
#include <cstdint>

namespace slmmesh {

// Functions so marked are compiled once per instruction set and chosen at load time; their results do not differ.
// ThreadSanitizer's runtime is not up yet when the loader makes that choice.
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(MESH_SANITIZE_THREAD) && !defined(__SANITIZE_ADDRESS__)
#define MESH_PER_INSTRUCTION_SET __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define MESH_PER_INSTRUCTION_SET
#endif

// The natural logarithm of a positive, normal x; relative error below 1e-15.
inline double Log(double x) {
  constexpr uint64_t kSqrtHalf = 0x3fe6a09e667f3bcd;  // the bits of √½
  const uint64_t bits = std::bit_cast<uint64_t>(x);
  // x = 2^exponent · mantissa with mantissa in [√½, √2), where log(mantissa) = 2·atanh(s).
  const int64_t exponent = static_cast<int64_t>(bits - kSqrtHalf) >> 52;
  const double mantissa = std::bit_cast<double>(bits - (static_cast<uint64_t>(exponent) << 52));
  const double s = (mantissa - 1.0) / (mantissa + 1.0);
  const double s2 = s * s;
  double series = 1.0 / 21;
  for (int odd = 19; odd >= 1; odd -= 2) series = series * s2 + 1.0 / odd;
  return static_cast<double>(exponent) * 0.6931471805599453 + 2.0 * s * series;
}

// exp(x) for x ≤ 0; relative error below 3e-7. Below -87 (and for NaN) it gives exp(-87), which is 1.6e-38.
[[gnu::always_inline]] inline float ExpNonPositive(float x) {
  constexpr float kLog2E = 1.44269504f, kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
  constexpr float kRound = 12582912.0f;  // 1.5 · 2^23: adding it rounds to an integer
  x = x > -87.0f ? x : -87.0f;
  const float k = (x * kLog2E + kRound) - kRound;
  const float r = (x - k * kLn2High) - k * kLn2Low;
  float p = 1.0f / 5040;
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  return p * std::bit_cast<float>((static_cast<int32_t>(k) + 127) << 23);
}

}  // namespace slmmesh
