// Who answers for the group that this worker leads now, if it leads one.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "worker/server/engine_loop.h"

namespace slmmesh {

// Thread-safe. The group's session sets and clears it; router streams ask.
class SeatLeader {
 public:
  void Set(const std::string& group_id, uint64_t epoch, std::shared_ptr<EngineLoop> loop) {
    absl::MutexLock lock(&mutex_);
    group_id_ = group_id;
    epoch_ = epoch;
    loop_ = std::move(loop);
  }
  void Clear() { Set("", 0, nullptr); }

  // FAILED_PRECONDITION when this worker does not lead that epoch of that group.
  absl::StatusOr<std::shared_ptr<EngineLoop>> Find(const std::string& group_id, uint64_t epoch) const;

 private:
  mutable absl::Mutex mutex_;
  std::string group_id_ ABSL_GUARDED_BY(mutex_);
  uint64_t epoch_ ABSL_GUARDED_BY(mutex_) = 0;
  std::shared_ptr<EngineLoop> loop_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace slmmesh
