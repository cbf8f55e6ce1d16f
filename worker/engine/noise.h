// The randomness of sampling: Gumbel noise that is a pure function of (seed, token index, token id), so that a stream
// resumed elsewhere continues exactly and a draft model can share it. Changing a bit here changes every seeded answer:
// noise_test holds golden values.
#pragma once

#include <bit>
#include <cstdint>

#include "worker/engine/math.h"

namespace slmmesh {

// All that the noise of one output token depends on besides the candidate's id.
struct NoiseKey {
  uint32_t first = 0;
  uint32_t second = 0;
};

// Draws about the same token that must not depend on each other.
enum class NoiseUse : uint64_t {
  kChoice,    // of the token itself, and of a draft's guess at it
  kAccept,    // whether a guess stays
  kResample,  // what takes the place of one that does not
};

NoiseKey MakeNoiseKey(uint64_t seed, uint64_t token_index, NoiseUse use = NoiseUse::kChoice);

// A bijection of 32 bits with low bias (C. Wellons' "lowbias32"); 32-bit products, so that it vectorises.
[[gnu::always_inline]] inline uint32_t MixNoise(uint32_t x) {
  x ^= x >> 16;
  x *= 0x7feb352du;
  x ^= x >> 15;
  x *= 0x846ca68bu;
  x ^= x >> 16;
  return x;
}

[[gnu::always_inline]] inline uint32_t NoiseBits(NoiseKey key, uint32_t token_id) {
  return MixNoise(MixNoise(token_id ^ key.first) + key.second);
}

// The standard Gumbel variate of the uniform (bits + ½) / 2^32; rises with bits, from -3.13 to 22.88.
inline double GumbelNoise(uint32_t bits) {
  const double uniform = (static_cast<double>(bits) + 0.5) * 0x1p-32;
  return -Log(-Log(uniform));
}

// At least GumbelNoise(bits) and at most 0.07 above it where bits are high (but for the last few): a cheap test of what
// cannot win. With v = 1 - uniform: -log(-log(1 - v)) ≤ -log(v), and log2(v) ≥ the exponent and mantissa bits of v read
// as a number.
[[gnu::always_inline]] inline float GumbelBound(uint32_t bits) {
  constexpr float kLn2 = 0.693147181f;
  constexpr float kRoundingSlack = 1e-4f;
  const float half_v = static_cast<float>(static_cast<int32_t>(~bits >> 1)) + 0.25f;  // ≤ v · 2^31
  const float log2_half_v = static_cast<float>(std::bit_cast<int32_t>(half_v) - (127 << 23)) * 0x1p-23f;
  return (31.0f - log2_half_v) * kLn2 + kRoundingSlack;
}

}  // namespace slmmesh
