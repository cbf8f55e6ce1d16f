// Speculative sampling (Leviathan, Kalman, Matias 2023): guesses drawn from one distribution become draws from another.
#pragma once

#include <cstdint>

#include "worker/engine/noise.h"
#include "worker/engine/token_distribution.h"

namespace slmmesh {

// Accepts the guess with probability min(1, target / proposal); else draws from the normalised max(0, target -
// proposal). Given that the guess was drawn from the proposal, what is returned is distributed as the target says.
// `accept` and `resample` must be keys of noise that the guess does not depend on.
uint32_t AcceptOrResample(const TokenDistribution& target, const TokenDistribution& proposal, uint32_t guess,
                          NoiseKey accept, NoiseKey resample);

}  // namespace slmmesh
