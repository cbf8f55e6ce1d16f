#include "worker/server/worker_server.h"

#include <grpcpp/grpcpp.h>

#include <chrono>

#include "absl/strings/str_cat.h"
#include "common/grpc_status.h"
#include "common/status.h"
#include "slmmesh/v1/worker.grpc.pb.h"
#include "worker/server/session_stream.h"

namespace slmmesh {
namespace {

constexpr double kMaxSessions = 256;
constexpr std::chrono::seconds kStopTime(1);

class RefusedSession : public grpc::ServerBidiReactor<v1::SessionRequest, v1::SessionResponse> {
 public:
  explicit RefusedSession(const absl::Status& status) { Finish(ToGrpcStatus(status)); }
  void OnDone() override { delete this; }
};

class Service : public v1::Worker::CallbackService {
 public:
  explicit Service(WorkerServer::Options options) : options_(std::move(options)) {}

  grpc::ServerUnaryReactor* GetModel(grpc::CallbackServerContext* context, const v1::GetModelRequest*,
                                     v1::ModelInfo* response) override {
    const absl::Status peer = CheckPeer(*context, options_.cluster, {Role::kRouter, Role::kAdmin});
    if (peer.ok()) *response = options_.model;
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(ToGrpcStatus(peer));
    return reactor;
  }

  grpc::ServerBidiReactor<v1::SessionRequest, v1::SessionResponse>* Session(
      grpc::CallbackServerContext* context) override {
    absl::Status refusal = CheckPeer(*context, options_.cluster, {Role::kRouter});
    if (refusal.ok() && options_.metrics->sessions.Value() >= kMaxSessions) {
      refusal = absl::ResourceExhaustedError(absl::StrCat("this worker serves at most ", kMaxSessions, " streams"));
    }
    if (!refusal.ok()) return new RefusedSession(refusal);
    return SessionStream::Open(context, options_.leader, options_.metrics);
  }

  const WorkerServer::Options& options() const { return options_; }

 private:
  const WorkerServer::Options options_;
};

class WorkerServerImpl : public WorkerServer {
 public:
  explicit WorkerServerImpl(Options options) : service_(std::move(options)) {}
  ~WorkerServerImpl() override {
    if (server_ != nullptr) server_->Shutdown(std::chrono::system_clock::now() + kStopTime);
  }

  absl::Status Listen() {
    grpc::ServerBuilder builder;
    AddListeningPort(builder, service_.options().tls, service_.options().address, &port_);
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
    if (server_ != nullptr && port_ != 0) return absl::OkStatus();
    return absl::UnavailableError(absl::StrCat("cannot listen on ", service_.options().address));
  }
  int port() const override { return port_; }

 private:
  Service service_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<WorkerServer>> WorkerServer::Start(Options options) {
  auto server = std::make_unique<WorkerServerImpl>(std::move(options));
  RETURN_IF_ERROR(server->Listen());
  return server;
}

}  // namespace slmmesh
