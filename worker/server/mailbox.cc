#include "worker/server/mailbox.h"

#include <utility>

namespace slmmesh {

bool Mailbox::Post(Command command) {
  absl::MutexLock lock(&mutex_);
  const bool must_fit = command.kind == Command::Kind::kDetach || command.kind == Command::Kind::kDrain;
  if (is_closed_ || (commands_.size() >= kMaxCommands && !must_fit)) return false;
  commands_.push_back(std::move(command));
  return true;
}

std::deque<Command> Mailbox::Take(absl::Time deadline) {
  absl::MutexLock lock(&mutex_);
  const auto ready = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return is_closed_ || !commands_.empty(); };
  mutex_.AwaitWithDeadline(absl::Condition(&ready), deadline);
  return std::exchange(commands_, {});
}

void Mailbox::Close(const absl::Status& reason) {
  absl::MutexLock lock(&mutex_);
  if (is_closed_) return;
  is_closed_ = true;
  reason_ = reason;
}

absl::Status Mailbox::closed() const {
  absl::MutexLock lock(&mutex_);
  return is_closed_ ? reason_ : absl::OkStatus();
}

}  // namespace slmmesh
