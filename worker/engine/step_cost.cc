#include "worker/engine/step_cost.h"

#include <algorithm>
#include <cmath>

namespace slmmesh {
namespace {

constexpr double kNewest = 0.2;     // weight of a new measurement
constexpr double kLargestJump = 2;  // one that was interrupted counts no more than this many times the estimate

}  // namespace

size_t StepCost::BucketOf(uint32_t tokens) {
  if (tokens <= kExact) return tokens;
  const double doublings = std::log2(static_cast<double>(tokens) / kExact);
  return std::min(kBuckets - 1, kExact + static_cast<size_t>(doublings * kPerDoubling));
}

void StepCost::Note(uint32_t tokens, double seconds) {
  const size_t bucket = BucketOf(tokens);
  double& known = seconds_[bucket];
  known = known == 0 ? seconds : known + kNewest * (std::min(seconds, kLargestJump * known) - known);
  // Fewer tokens cost no more: what was measured of them in slower times is corrected.
  for (size_t fewer = 0; fewer < bucket; ++fewer) seconds_[fewer] = std::min(seconds_[fewer], known);
}

double StepCost::Of(uint32_t tokens) const {
  const size_t bucket = BucketOf(tokens);
  size_t below = bucket, above = bucket;
  while (below > 0 && seconds_[below] == 0) --below;
  while (above < kBuckets && seconds_[above] == 0) ++above;
  const bool has_above = above < kBuckets;
  if (seconds_[below] == 0) return has_above ? seconds_[above] / 2 : 0;
  if (!has_above || above == below) return seconds_[below];
  const double part = static_cast<double>(bucket - below) / static_cast<double>(above - below);
  return seconds_[below] + part * (seconds_[above] - seconds_[below]);
}

}  // namespace slmmesh
