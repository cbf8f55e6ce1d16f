// Whether an epoch still stands on this rank: the first failure, kept for all later calls.
#pragma once

#include <atomic>
#include <string>

#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"

namespace slmmesh {

// Thread-safe: the calling thread asks, any thread ends.
class EpochGuard {
 public:
  bool ended() const { return ended_.load(std::memory_order_acquire); }
  absl::Status status() const;
  // The first end stays; returns the status that stands.
  absl::Status End(const absl::Status& status);

 private:
  std::atomic<bool> ended_ = false;
  mutable absl::Mutex mutex_;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace slmmesh
