#include "worker/engine/step_cost.h"

#include <algorithm>
#include <cmath>

namespace slmmesh {
namespace {

constexpr double kNewest = 0.1;     // weight of a new measurement
constexpr double kForgets = 0.01;   // and of each step since the last
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
  const double age = static_cast<double>(step_ - noted_at_[bucket]);
  noted_at_[bucket] = step_;
  const double weight = std::min(1.0, kNewest + kForgets * age);
  known = known == 0 ? seconds : known + weight * (std::min(seconds, kLargestJump * known) - known);
}

double StepCost::Of(uint32_t tokens) const {
  const size_t bucket = BucketOf(tokens);
  size_t below = bucket, above = bucket;
  while (below > 0 && seconds_[below] == 0) --below;
  while (above < kBuckets && seconds_[above] == 0) ++above;
  if (above == kBuckets) return seconds_[below];
  // Fewer tokens cost no more: what was measured of them in slower times does not count. It is not overwritten, as what
  // is measured of more varies, and its lowest value would stay.
  double most = seconds_[above];
  for (size_t more = above + 1; more < kBuckets; ++more) {
    if (seconds_[more] > 0) most = std::min(most, seconds_[more]);
  }
  if (seconds_[below] == 0) return most / 2;
  const double least = std::min(seconds_[below], most);
  if (above == below) return least;
  const double part = static_cast<double>(bucket - below) / static_cast<double>(above - below);
  return least + part * (most - least);
}

}  // namespace slmmesh
