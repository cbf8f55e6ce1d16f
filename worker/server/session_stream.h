// One router's Session stream: gRPC's reactions on one side, the engine's loop on the other.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "slmmesh/v1/worker.grpc.pb.h"
#include "worker/server/pending_updates.h"
#include "worker/server/router_stream.h"
#include "worker/server/seat_leader.h"
#include "worker/server/worker_metrics.h"

namespace slmmesh {

// Thread-safe. Lives until gRPC is done with it and the engine's loop has let go of it.
class SessionStream final : public grpc::ServerBidiReactor<v1::SessionRequest, v1::SessionResponse>,
                            public RouterStream {
 public:
  // The reactor for gRPC, which keeps itself.
  static SessionStream* Open(grpc::CallbackServerContext* context, const SeatLeader* leader, WorkerMetrics* metrics);
  SessionStream(grpc::CallbackServerContext* context, const SeatLeader* leader, WorkerMetrics* metrics)
      : context_(context), leader_(leader), metrics_(metrics) {}

  void Push(v1::SessionResponse update) override;
  void Close(const absl::Status& status) override;

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnDone() override;

 private:
  absl::Status Handle(v1::SessionRequest request);
  absl::Status Greet(const v1::SessionHello& hello);
  void Detach();
  void WriteNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  grpc::CallbackServerContext* const context_;
  const SeatLeader* const leader_;
  WorkerMetrics* const metrics_;
  std::shared_ptr<SessionStream> self_;  // until OnDone

  // Reactions to reads only, one at a time.
  v1::SessionRequest incoming_;
  std::shared_ptr<EngineLoop> loop_;  // after the hello
  std::string router_id_;

  absl::Mutex mutex_;
  PendingUpdates pending_ ABSL_GUARDED_BY(mutex_);
  v1::SessionResponse outgoing_ ABSL_GUARDED_BY(mutex_);
  absl::Time write_start_ ABSL_GUARDED_BY(mutex_);
  absl::Status end_ ABSL_GUARDED_BY(mutex_);
  bool is_writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool is_closing_ ABSL_GUARDED_BY(mutex_) = false;   // nothing is pushed any more; `end_` follows what is pending
  bool is_finished_ ABSL_GUARDED_BY(mutex_) = false;  // Finish() was called
};

}  // namespace slmmesh
