// How often guesses of a draft model were right of late, by how clearly each led over the draft's second choice. As the
// draft's logits miss the target's by some error, a lead above that error means a right guess: at any temperature,
// under the coupled rule, where both choose by the same noise.
#pragma once

#include <cmath>
#include <cstddef>
#include <vector>

#include "worker/engine/share.h"

namespace slmmesh {

// Not thread-safe. Of all streams.
class Confidence {
 public:
  // `lead` in logits, ≥ 0.
  void Note(float lead, bool right) { shares_[BucketOf(lead)].Add(right); }
  // The chance of such a guess. `prior`: what is believed where none was seen.
  double ChanceOf(float lead, double prior) const { return shares_[BucketOf(lead)].Estimate(prior); }

 private:
  // Finer for small leads, which tell most: from 0, 0.19, 0.41, 0.68, 1 … up to 12.5 and more.
  static constexpr size_t kBuckets = 16;
  static constexpr float kPerDoubling = 4;
  static constexpr double kMemory = 100;  // guesses of a bucket that count

  static size_t BucketOf(float lead) {
    const float bucket = kPerDoubling * std::log2(1 + lead);
    return bucket < kBuckets ? static_cast<size_t>(bucket) : kBuckets - 1;  // infinity: the last
  }

  std::vector<Share> shares_ = std::vector<Share>(kBuckets, Share(kMemory));
};

}  // namespace slmmesh
