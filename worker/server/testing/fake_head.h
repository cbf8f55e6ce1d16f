// For tests: a head that gives the seats it is told to give.
#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "common/tls.h"
#include "slmmesh/v1/head.grpc.pb.h"

namespace slmmesh {

class FakeHead : public v1::Head::Service {
 public:
  // Port 0: a free one.
  FakeHead(const TlsFiles& tls, int port);
  ~FakeHead() override;
  int port() const { return port_; }

  // Waits until all of `worker_ids` joined, then seats them by rank.
  void Assign(const std::string& group_id, uint64_t epoch, const std::vector<std::string>& worker_ids);
  // What other ranks are told of a worker's host from now on.
  void SetHostId(const std::string& worker_id, const std::string& host_id);
  void Release(const std::string& worker_id, const std::string& reason);
  // Tells rank 0 to end its epoch once nothing runs.
  void Drain(const std::string& worker_id, const v1::GroupSeat& seat);
  // The worker's offer, once it joined.
  v1::Offer AwaitOffer(const std::string& worker_id);
  // Its first status from now on that `wanted` accepts, the last one received included. Fails the test when none comes.
  v1::WorkerStatus Await(const std::string& worker_id, const std::function<bool(const v1::WorkerStatus&)>& wanted);
  v1::WorkerStatus AwaitPhase(const std::string& worker_id, v1::WorkerPhase phase, uint64_t epoch);
  // How often workers opened a stream.
  int joins();
  // Until the worker's stream is closed by the worker.
  void AwaitGone(const std::string& worker_id);

  grpc::Status Join(grpc::ServerContext* context,
                    grpc::ServerReaderWriter<v1::JoinResponse, v1::JoinRequest>* stream) override;

 private:
  struct Member {
    grpc::ServerReaderWriter<v1::JoinResponse, v1::JoinRequest>* stream;  // null: gone
    v1::Offer offer;
    v1::WorkerStatus status;
  };
  void Write(const std::string& worker_id, const v1::JoinResponse& response);
  void AwaitTrue(const char* what, const std::function<bool()>& condition) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  absl::Mutex mutex_;
  std::map<std::string, Member> members_ ABSL_GUARDED_BY(mutex_);
  int joins_ ABSL_GUARDED_BY(mutex_) = 0;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace slmmesh
