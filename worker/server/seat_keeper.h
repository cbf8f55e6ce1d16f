// Takes the seats that the head gives, one at a time, on one thread: the weights' and the engine's thread.
#pragma once

#include <memory>
#include <optional>
#include <thread>

#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "slmmesh/v1/head.pb.h"
#include "worker/server/group_session.h"

namespace slmmesh {

// Thread-safe.
class SeatKeeper {
 public:
  explicit SeatKeeper(SessionContext context);
  ~SeatKeeper();  // ends the session, then waits for its thread

  // Ends the session there is, and begins the new seat's. The seat that is held already is left alone.
  void Assign(const v1::Assignment& assignment);
  // Gives the seat up, keeps the weights.
  void Release(const v1::Release& release);
  // Another rank leaves: ends the epoch of this seat once nothing runs. Another seat than the one held: nothing
  // happens.
  void EndWhenIdle(const v1::GroupSeat& seat);
  // Lets the session finish what it has, at most for `timeout`, then ends it. No seat is taken any more. False when it
  // has not ended even then: it still loads weights.
  bool Drain(absl::Duration timeout);
  // Whether the seat's epoch is up: what readiness means. A worker without a seat, loading or a spare, serves nobody.
  bool IsServing() const;

 private:
  void Loop();
  void ReportEnd(const GroupSession& session, const absl::Status& end);
  void ReportAndNote(const v1::WorkerStatus& status);

  SessionContext context_;
  const std::function<void(const v1::WorkerStatus&)> report_;
  mutable absl::Mutex mutex_;
  std::optional<v1::Assignment> next_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<GroupSession> current_ ABSL_GUARDED_BY(mutex_);
  bool is_released_ ABSL_GUARDED_BY(mutex_) = false;  // the current session ends because the head asked for it
  bool is_stopping_ ABSL_GUARDED_BY(mutex_) = false;
  v1::WorkerPhase phase_ ABSL_GUARDED_BY(mutex_) = v1::WORKER_PHASE_IDLE;
  std::thread thread_;
};

}  // namespace slmmesh
