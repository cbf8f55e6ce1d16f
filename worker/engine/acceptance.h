// How often a stream's guesses were right of late: the first of a step, and one that follows a right one. Text that
// repeats itself is guessed in runs, so the two differ.
#pragma once

#include <cstdint>

namespace slmmesh {

// Not thread-safe; belongs to one sequence (or, as the prior of new ones, to all).
class Acceptance {
 public:
  // A step's first `accepted` of `drafted` guesses were right; what followed a wrong one says nothing.
  void Note(uint32_t drafted, uint32_t accepted) {
    for (uint32_t i = 0; i < drafted && i <= accepted; ++i) (i == 0 ? first_ : later_).Add(i < accepted);
  }

  // The tokens that a step of `depth` guesses is expected to give, the target's own included. `prior`: what is believed
  // of a stream that has not been seen yet.
  double ExpectedTokens(uint32_t depth, const Acceptance& prior) const {
    const double first = first_.Estimate(prior.first_.Estimate(kUnknown));
    const double later = later_.Estimate(prior.later_.Estimate(kUnknown));
    double expected = 1, all_right = first;
    for (uint32_t i = 0; i < depth; ++i, all_right *= later) expected += all_right;
    return expected;
  }

 private:
  static constexpr double kUnknown = 0.7;     // optimistic: a stream is tried before it is judged
  static constexpr double kMemory = 0.97;     // about the last thirty guesses
  static constexpr double kPriorGuesses = 4;  // what the prior weighs

  struct Share {
    void Add(bool right) {
      right_ = kMemory * right_ + (right ? 1 : 0);
      guesses_ = kMemory * guesses_ + 1;
    }
    double Estimate(double prior) const { return (right_ + kPriorGuesses * prior) / (guesses_ + kPriorGuesses); }

    double right_ = 0, guesses_ = 0;
  };

  Share first_, later_;
};

}  // namespace slmmesh
