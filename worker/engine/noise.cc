#include "worker/engine/noise.h"

namespace slmmesh {
namespace {

// The finalizer of SplitMix64 (Steele, Lea, Flood 2014).
uint64_t Mix64(uint64_t x) {
  x ^= x >> 30;
  x *= 0xbf58476d1ce4e5b9u;
  x ^= x >> 27;
  x *= 0x94d049bb133111ebu;
  x ^= x >> 31;
  return x;
}

}  // namespace

NoiseKey MakeNoiseKey(uint64_t seed, uint64_t token_index) {
  constexpr uint64_t kGolden = 0x9e3779b97f4a7c15u;  // 2^64 / φ: keeps zero from mapping to zero
  const uint64_t hash = Mix64(Mix64(seed + kGolden) + token_index + kGolden);
  return {static_cast<uint32_t>(hash), static_cast<uint32_t>(hash >> 32)};
}

}  // namespace slmmesh
