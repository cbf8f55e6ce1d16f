// Keep-alive connections to one API server, a bounded number of them. Thread-safe.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "operator/kube/connection.h"
#include "operator/kube/credentials.h"

namespace slmmesh::kube {

enum class Reuse { kAllowed, kFreshOnly };

class ConnectionPool {
 public:
  // `credentials` outlives the pool.
  ConnectionPool(ServerUrl server, const std::string& tls_name, Credentials* credentials, int max_connections);

  // One for the pool's callers; goes back by Release(), or is lost when it is destroyed.
  class Loan {
   public:
    Loan(ConnectionPool* pool, std::unique_ptr<Connection> connection, bool reused)
        : pool_(pool), connection_(std::move(connection)), reused_(reused) {}
    Loan(Loan&&) = default;
    ~Loan() {
      if (pool_) pool_->GiveBack(std::move(connection_));
    }
    Connection& operator*() const { return *connection_; }
    Connection* operator->() const { return connection_.get(); }
    bool reused() const { return reused_; }  // was used for another request before

   private:
    struct Forget {
      void operator()(ConnectionPool*) const {}
    };
    std::unique_ptr<ConnectionPool, Forget> pool_;  // null once moved from
    std::unique_ptr<Connection> connection_;
    bool reused_;
  };

  // Waits while all connections are lent. Idle ones that the server closed are dropped.
  absl::StatusOr<Loan> Borrow(Reuse reuse, const Patience& patience);
  // A connection that does not count: for a watch, which keeps it for minutes.
  absl::StatusOr<std::unique_ptr<Connection>> OpenOwn(const Patience& patience);

 private:
  struct Idle {
    std::unique_ptr<Connection> connection;
    absl::Time since;
  };

  std::unique_ptr<Connection> TakeIdle(uint64_t generation);
  void GiveBack(std::unique_ptr<Connection> connection);
  bool HasRoom() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return lent_ < max_connections_; }

  const ServerUrl server_;
  const std::string tls_name_;
  Credentials* const credentials_;
  const int max_connections_;
  absl::Mutex mutex_;
  int lent_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<Idle> idle_ ABSL_GUARDED_BY(mutex_);  // the latest used last
};

}  // namespace slmmesh::kube
