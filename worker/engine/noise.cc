#include "worker/engine/noise.h"

#include "common/mix.h"

namespace slmmesh {

NoiseKey MakeNoiseKey(uint64_t seed, uint64_t token_index, NoiseUse use) {
  uint64_t hash = Mix64(Mix64(seed + kMixGolden) + token_index + kMixGolden);
  if (use != NoiseUse::kChoice) hash = Mix64(hash + static_cast<uint64_t>(use) * kMixGolden);
  return {static_cast<uint32_t>(hash), static_cast<uint32_t>(hash >> 32)};
}

}  // namespace slmmesh
