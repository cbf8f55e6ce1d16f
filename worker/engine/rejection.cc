#include "worker/engine/rejection.h"

#include <limits>

#include "worker/engine/math.h"

namespace slmmesh {
namespace {

constexpr double kTiny = 1e-30;  // what is left of equal probabilities that were rounded differently

// Gumbel-max over what the target has more of.
uint32_t Resample(const TokenDistribution& target, const TokenDistribution& proposal, NoiseKey key, uint32_t fallback) {
  uint32_t best_id = fallback;
  double best = -std::numeric_limits<double>::infinity();
  size_t next = 0;  // in the proposal; both ascend
  for (size_t i = 0; i < target.ids.size(); ++i) {
    const uint32_t id = target.ids[i];
    while (next < proposal.ids.size() && proposal.ids[next] < id) ++next;
    const bool is_proposed = next < proposal.ids.size() && proposal.ids[next] == id;
    const double rest = target.probabilities[i] - (is_proposed ? proposal.probabilities[next] : 0);
    if (rest < kTiny) continue;
    const double score = Log(rest) + GumbelNoise(NoiseBits(key, id));
    if (score <= best) continue;
    best = score;
    best_id = id;
  }
  return best_id;
}

}  // namespace

uint32_t AcceptOrResample(const TokenDistribution& target, const TokenDistribution& proposal, uint32_t guess,
                          NoiseKey accept, NoiseKey resample) {
  const double uniform = (static_cast<double>(NoiseBits(accept, 0)) + 0.5) * 0x1p-32;
  if (uniform * proposal.Of(guess) < target.Of(guess)) return guess;
  return Resample(target, proposal, resample, guess);
}

}  // namespace slmmesh
