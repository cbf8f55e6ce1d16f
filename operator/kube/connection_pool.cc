#include "operator/kube/connection_pool.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "common/status.h"

namespace slmmesh::kube {
namespace {

constexpr absl::Duration kMaxIdleTime = absl::Seconds(60);  // API servers close after 90
constexpr absl::Duration kWaitSlice = absl::Milliseconds(400);

}  // namespace

ConnectionPool::ConnectionPool(ServerUrl server, const std::string& tls_name, Credentials* credentials,
                               int max_connections)
    : server_(std::move(server)),
      tls_name_(tls_name.empty() ? server_.host : tls_name),
      credentials_(credentials),
      max_connections_(max_connections) {}

absl::StatusOr<ConnectionPool::Loan> ConnectionPool::Borrow(Reuse reuse, const Patience& patience) {
  {
    const absl::MutexLock lock(&mutex_);
    const auto has_room = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return HasRoom(); };
    while (!mutex_.AwaitWithTimeout(absl::Condition(&has_room),
                                    std::min(kWaitSlice, patience.deadline - Clock::Real().Now()))) {
      if (patience.cancelled && patience.cancelled()) return absl::CancelledError("cancelled");
      if (Clock::Real().Now() >= patience.deadline) {
        return absl::DeadlineExceededError(absl::StrCat("all ", max_connections_, " connections are busy"));
      }
    }
    ++lent_;
  }
  const Credentials::Tls tls = credentials_->CurrentTls();
  if (reuse == Reuse::kAllowed) {
    if (std::unique_ptr<Connection> idle = TakeIdle(tls.generation)) return Loan(this, std::move(idle), true);
  }
  absl::StatusOr<std::unique_ptr<Connection>> opened = Connection::Open(server_, tls_name_, tls, patience);
  if (!opened.ok()) {
    GiveBack(nullptr);
    return opened.status();
  }
  return Loan(this, *std::move(opened), false);
}

absl::StatusOr<std::unique_ptr<Connection>> ConnectionPool::OpenOwn(const Patience& patience) {
  return Connection::Open(server_, tls_name_, credentials_->CurrentTls(), patience);
}

std::unique_ptr<Connection> ConnectionPool::TakeIdle(uint64_t generation) {
  std::vector<Idle> dropped;  // closed outside the lock
  const absl::MutexLock lock(&mutex_);
  const absl::Time oldest = Clock::Real().Now() - kMaxIdleTime;
  while (!idle_.empty()) {
    Idle idle = std::move(idle_.back());
    idle_.pop_back();
    if (idle.since >= oldest && idle.connection->generation() == generation && !idle.connection->Stale()) {
      return std::move(idle.connection);
    }
    dropped.push_back(std::move(idle));
  }
  return nullptr;
}

void ConnectionPool::GiveBack(std::unique_ptr<Connection> connection) {
  std::vector<Idle> dropped;  // closed outside the lock
  const absl::MutexLock lock(&mutex_);
  --lent_;
  const absl::Time now = Clock::Real().Now();
  while (!idle_.empty() && idle_.front().since < now - kMaxIdleTime) {
    dropped.push_back(std::move(idle_.front()));
    idle_.erase(idle_.begin());
  }
  if (connection != nullptr && connection->reusable()) idle_.push_back({std::move(connection), now});
}

}  // namespace slmmesh::kube
