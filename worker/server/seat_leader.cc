#include "worker/server/seat_leader.h"

#include "absl/strings/str_cat.h"

namespace slmmesh {

absl::StatusOr<std::shared_ptr<EngineLoop>> SeatLeader::Find(const std::string& group_id, uint64_t epoch) const {
  absl::MutexLock lock(&mutex_);
  if (loop_ == nullptr) return absl::FailedPreconditionError("this worker leads no group now");
  if (group_id != group_id_ || epoch != epoch_) {
    return absl::FailedPreconditionError(absl::StrCat("this worker leads group ", group_id_, " in epoch ", epoch_,
                                                      ", not group ", group_id, " in epoch ", epoch));
  }
  return loop_;
}

}  // namespace slmmesh
