// The share of events that had an outcome, of late.
#pragma once

namespace slmmesh {

// Not thread-safe.
class Share {
 public:
  // About the last `memory` events count.
  explicit Share(double memory) : keep_(1 - 1 / memory) {}

  void Add(bool had_it) {
    with_ = keep_ * with_ + (had_it ? 1 : 0);
    events_ = keep_ * events_ + 1;
  }
  // `prior`: what is believed before anything was seen.
  double Estimate(double prior) const { return (with_ + kPriorEvents * prior) / (events_ + kPriorEvents); }

 private:
  static constexpr double kPriorEvents = 4;  // what the prior weighs

  double keep_;
  double with_ = 0, events_ = 0;
};

}  // namespace slmmesh
