// What a run of the model takes by how many tokens it computes, as measured.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace slmmesh {

// Not thread-safe. Bounded: a table of a hundred buckets, exact for few tokens and in steps of 9 % for many.
class StepCost {
 public:
  // The older what is known, the less it weighs against a new measurement.
  void BeginStep() { ++step_; }
  void Note(uint32_t tokens, double seconds);
  // Seconds; 0 when nothing was measured at all. Between measured numbers of tokens: interpolated. Beyond them: what
  // makes it worth a try, the cost of fewer tokens or half the cost of more.
  double Of(uint32_t tokens) const;
  // Steps since a run of about so many tokens was measured; since the first step, when none was.
  uint64_t StepsSince(uint32_t tokens) const { return step_ - noted_at_[BucketOf(tokens)]; }

 private:
  static constexpr size_t kExact = 16;
  static constexpr size_t kPerDoubling = 8;
  static constexpr size_t kBuckets = kExact + kPerDoubling * 12 + 1;  // up to 65,536 tokens

  static size_t BucketOf(uint32_t tokens);

  std::array<double, kBuckets> seconds_ = {};     // 0: not measured
  std::array<uint64_t, kBuckets> noted_at_ = {};  // the step
  uint64_t step_ = 0;
};

}  // namespace slmmesh
