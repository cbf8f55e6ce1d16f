// How often a stream's guesses were right of late: the first of a step, and one that follows a right one. Text that
// repeats itself is guessed in runs, so the two differ.
#pragma once

#include <cstdint>

#include "worker/engine/share.h"

namespace slmmesh {

// Not thread-safe; belongs to one sequence (or, as the prior of new ones, to all).
class Acceptance {
 public:
  static constexpr double kOfStream = 30, kOfAll = 300;  // guesses that count

  explicit Acceptance(double memory = kOfStream) : first_(memory), later_(memory) {}

  // A step's first `accepted` of `drafted` guesses were right; what followed a wrong one says nothing.
  void Note(uint32_t drafted, uint32_t accepted) {
    for (uint32_t i = 0; i < drafted && i <= accepted; ++i) (i == 0 ? first_ : later_).Add(i < accepted);
  }

  // The tokens that a step of `depth` guesses is expected to give, the target's own included. `prior`: what is believed
  // of a stream that has not been seen yet.
  double ExpectedTokens(uint32_t depth, const Acceptance& prior) const {
    const double first = first_.Estimate(prior.first_.Estimate(kUnknown)), later = Later(prior);
    double expected = 1, all_right = first;
    for (uint32_t i = 0; i < depth; ++i, all_right *= later) expected += all_right;
    return expected;
  }

  // The chance of a guess that follows a right one.
  double Later(const Acceptance& prior) const { return later_.Estimate(prior.later_.Estimate(kUnknown)); }

 private:
  static constexpr double kUnknown = 0.9;  // optimistic: a stream is tried before it is judged

  Share first_, later_;
};

}  // namespace slmmesh
