#include "worker/server/seat_keeper.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/log.h"

namespace slmmesh {
namespace {

constexpr absl::Duration kAbortTime = absl::Seconds(1);  // an aborted session ends within

bool SameSeat(const v1::GroupSeat& a, const v1::GroupSeat& b) {
  return a.group_id() == b.group_id() && a.epoch() == b.epoch() && a.rank() == b.rank() && a.size() == b.size();
}

}  // namespace

SeatKeeper::SeatKeeper(SessionContext context) : context_(std::move(context)), report_(context_.report) {
  context_.report = [this](const v1::WorkerStatus& status) { ReportAndNote(status); };
  thread_ = std::thread([this] { Loop(); });
}

SeatKeeper::~SeatKeeper() {
  Drain(absl::ZeroDuration());
  thread_.join();
}

void SeatKeeper::Assign(const v1::Assignment& assignment) {
  absl::MutexLock lock(&mutex_);
  if (current_ != nullptr && !is_released_ && SameSeat(current_->seat(), assignment.seat())) return;
  LogInfo("seat.assigned", {{"group", assignment.seat().group_id()},
                            {"epoch", assignment.seat().epoch()},
                            {"rank", assignment.seat().rank()},
                            {"size", assignment.seat().size()}});
  next_ = assignment;
  if (current_ == nullptr) return;
  is_released_ = true;
  current_->Stop(absl::UnavailableError("the group moves on to a new epoch"));
}

void SeatKeeper::Release(const v1::Release& release) {
  absl::MutexLock lock(&mutex_);
  LogInfo("seat.released", {{"group", release.seat().group_id()}, {"reason", release.reason()}});
  next_.reset();
  if (current_ == nullptr) return;
  is_released_ = true;
  current_->Stop(absl::UnavailableError(absl::StrCat("the head released the seat: ", release.reason())));
}

void SeatKeeper::EndWhenIdle(const v1::GroupSeat& seat) {
  absl::MutexLock lock(&mutex_);
  if (current_ != nullptr && SameSeat(current_->seat(), seat)) current_->Drain();
}

bool SeatKeeper::Drain(absl::Duration timeout) {
  absl::MutexLock lock(&mutex_);
  is_stopping_ = true;
  next_.reset();
  const absl::Status reason = absl::UnavailableError("the worker is shutting down");
  if (current_ != nullptr && phase_ == v1::WORKER_PHASE_SERVING) current_->Drain();
  if (current_ != nullptr && phase_ != v1::WORKER_PHASE_SERVING) current_->Stop(reason);  // it has nothing to finish
  const auto is_over = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return current_ == nullptr; };
  if (mutex_.AwaitWithTimeout(absl::Condition(&is_over), timeout)) return true;
  current_->Stop(reason);
  return mutex_.AwaitWithTimeout(absl::Condition(&is_over), kAbortTime);
}

bool SeatKeeper::IsServing() const {
  absl::MutexLock lock(&mutex_);
  return phase_ == v1::WORKER_PHASE_SERVING;
}

void SeatKeeper::Loop() {
  while (true) {
    std::shared_ptr<GroupSession> session;
    {
      absl::MutexLock lock(&mutex_);
      const auto wanted = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return is_stopping_ || next_.has_value(); };
      mutex_.Await(absl::Condition(&wanted));
      if (is_stopping_) return;
      session = current_ = std::make_shared<GroupSession>(context_, *std::exchange(next_, std::nullopt));
      is_released_ = false;
    }
    ReportEnd(*session, session->Run());
    session.reset();
    absl::MutexLock lock(&mutex_);
    current_.reset();
  }
}

void SeatKeeper::ReportEnd(const GroupSession& session, const absl::Status& end) {
  bool in_order;
  bool is_reseated;
  {
    absl::MutexLock lock(&mutex_);
    in_order = end.ok() || is_released_ || is_stopping_;
    is_reseated = next_.has_value();
  }
  LogInfo("group.left", {{"group", session.seat().group_id()}, {"epoch", session.seat().epoch()}, {"reason", end}});
  if (is_reseated) return;  // the next session's first status follows
  v1::WorkerStatus status;
  status.set_phase(v1::WORKER_PHASE_IDLE);
  if (!in_order) {
    context_.metrics->epochs_failed.Increment();
    status.set_phase(v1::WORKER_PHASE_FAILED);
    *status.mutable_seat() = session.seat();
    status.set_message(std::string(end.message()));
  }
  ReportAndNote(status);
}

void SeatKeeper::ReportAndNote(const v1::WorkerStatus& status) {
  {
    absl::MutexLock lock(&mutex_);
    phase_ = status.phase();
  }
  context_.metrics->ShowStatus(status);
  report_(status);
}

}  // namespace slmmesh
