// A fixed 64-bit mixing function, for hashes and counter-based noise whose values are contracts: it never changes.
#pragma once

#include <cstdint>

namespace slmmesh {

// The finalizer of SplitMix64 (Steele, Lea, Flood 2014): a bijection whose output bits each depend on every input bit.
constexpr uint64_t Mix64(uint64_t x) {
  x ^= x >> 30;
  x *= 0xbf58476d1ce4e5b9u;
  x ^= x >> 27;
  x *= 0x94d049bb133111ebu;
  x ^= x >> 31;
  return x;
}

// 2^64 / φ: added before mixing, it keeps zero from mapping to zero.
inline constexpr uint64_t kMixGolden = 0x9e3779b97f4a7c15u;

}  // namespace slmmesh
