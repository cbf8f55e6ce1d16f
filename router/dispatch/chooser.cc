#include "router/dispatch/chooser.h"

#include <tuple>

namespace slmmesh {
namespace {

// Smaller is better.
std::tuple<bool, bool, int64_t, double> Cost(const GroupCandidate& candidate) {
  const bool is_full = candidate.max_running != 0 && candidate.requests >= candidate.max_running;
  const double load =
      candidate.max_running == 0 ? candidate.requests : static_cast<double>(candidate.requests) / candidate.max_running;
  return {candidate.draining, is_full, -int64_t{candidate.cached_blocks}, load};
}

}  // namespace

std::optional<uint32_t> ChooseGroup(std::span<const GroupCandidate> candidates, uint64_t turn) {
  std::optional<uint32_t> best;
  for (size_t i = 0; i < candidates.size(); ++i) {
    const uint32_t index = (turn + i) % candidates.size();
    if (!best.has_value() || Cost(candidates[index]) < Cost(candidates[*best])) best = index;
  }
  return best;
}

}  // namespace slmmesh
