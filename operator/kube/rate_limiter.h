// A token bucket. Thread-safe.
#pragma once

#include <algorithm>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace slmmesh::kube {

class RateLimiter {
 public:
  // per_second > 0; `burst` may go at once.
  RateLimiter(double per_second, double burst) : per_second_(per_second), burst_(burst), tokens_(burst) {}

  // Takes one, even in advance, and says how long to wait before using it. `now` never goes back.
  absl::Duration Reserve(absl::Time now) {
    const absl::MutexLock lock(&mutex_);
    Refill(now);
    tokens_ -= 1;
    return tokens_ >= 0 ? absl::ZeroDuration() : absl::Seconds(-tokens_ / per_second_);
  }

  // Takes one if it may be used now.
  bool TryTake(absl::Time now) {
    const absl::MutexLock lock(&mutex_);
    Refill(now);
    if (tokens_ < 1) return false;
    tokens_ -= 1;
    return true;
  }

 private:
  void Refill(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (now > last_) tokens_ = std::min(burst_, tokens_ + absl::ToDoubleSeconds(now - last_) * per_second_);
    last_ = std::max(last_, now);
  }

  const double per_second_;
  const double burst_;
  absl::Mutex mutex_;
  double tokens_ ABSL_GUARDED_BY(mutex_);
  absl::Time last_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
};

}  // namespace slmmesh::kube
