// Time as a dependency: code that waits or measures takes a Clock, so that a simulation can drive it.
#pragma once

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace slmmesh {

class Clock {
 public:
  virtual ~Clock() = default;
  virtual absl::Time Now() const = 0;  // never goes back within a process
  static const Clock& Real();
};

class FakeClock : public Clock {
 public:
  explicit FakeClock(absl::Time start = absl::UnixEpoch()) : now_(start) {}
  absl::Time Now() const override { return now_; }
  void Advance(absl::Duration duration) { now_ += duration; }

 private:
  absl::Time now_;
};

}  // namespace slmmesh
