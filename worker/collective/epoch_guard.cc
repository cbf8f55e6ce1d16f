#include "worker/collective/epoch_guard.h"

namespace slmmesh {

absl::Status EpochGuard::status() const {
  absl::MutexLock lock(&mutex_);
  return status_;
}

absl::Status EpochGuard::End(const absl::Status& status) {
  absl::MutexLock lock(&mutex_);
  if (status_.ok()) status_ = status;
  ended_.store(true, std::memory_order_release);
  return status_;
}

}  // namespace slmmesh
