#include "worker/engine/depth_policy.h"

#include <algorithm>

namespace slmmesh {

// As if the other streams chose the same depth.
double DepthPolicy::StepSeconds(uint32_t depth, uint32_t streams) const {
  return depth * draft_cost_.Of(streams) + verify_cost_.Of(streams * (depth + 1));
}

uint32_t DepthPolicy::Choose(const Acceptance& stream, uint32_t streams) const {
  if (StepSeconds(0, streams) == 0) return max_depth_;  // nothing was measured yet
  uint32_t best = 0;
  double best_rate = kWorthwhile / StepSeconds(0, streams);
  for (uint32_t depth = 1; depth <= max_depth_; ++depth) {
    const double rate = stream.ExpectedTokens(depth, all_) / StepSeconds(depth, streams);
    if (rate <= best_rate) continue;
    best = depth;
    best_rate = rate;
  }
  return best;
}

bool DepthPolicy::TakeTrial(uint32_t depth, uint32_t streams) {
  if (depth >= max_depth_) return false;
  const double extra = std::max(0.0, StepSeconds(depth + 1, streams) - StepSeconds(depth, streams));
  if (trial_seconds_ < extra) return false;
  trial_seconds_ = 0;  // not saved up: trials are spread over time
  return true;
}

}  // namespace slmmesh
