#include "router/grpc/inference_service.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>

#include <atomic>
#include <chrono>

#include "absl/time/clock.h"
#include "common/grpc_status.h"
#include "router/grpc/generate_call.h"

namespace slmmesh {
namespace {

constexpr std::chrono::milliseconds kStopTime(500);

// Any identity of the cluster may ask.
absl::Status CheckCaller(const grpc::ServerContextBase& context, const std::string& cluster) {
  return CheckPeer(context, cluster,
                   {Role::kAdmin, Role::kMonitor, Role::kRouter, Role::kWorker, Role::kOperator, Role::kHead});
}

// Ends at once with a status.
class Refusal final : public grpc::ServerWriteReactor<v1::GenerateResponse> {
 public:
  explicit Refusal(const absl::Status& status) { Finish(ToGrpcStatus(status)); }
  void OnDone() override { delete this; }
};

class Service final : public v1::Inference::CallbackService {
 public:
  explicit Service(const InferenceServer::Options& options) : options_(options) {}

  grpc::ServerWriteReactor<v1::GenerateResponse>* Generate(grpc::CallbackServerContext* context,
                                                           const v1::GenerateRequest* request) override {
    if (const absl::Status status = CheckCaller(*context, options_.cluster); !status.ok()) return new Refusal(status);
    Loop* const loop = options_.loops[next_loop_++ % options_.loops.size()];
    const absl::Time deadline = absl::FromChrono(std::chrono::time_point_cast<std::chrono::microseconds>(
        std::min(context->deadline(), std::chrono::system_clock::now() + std::chrono::hours(24))));
    auto* const call = new GenerateCall(options_.context, loop, *request, deadline);
    call->Begin();
    return call;
  }

  grpc::ServerUnaryReactor* ListModels(grpc::CallbackServerContext* context, const v1::ListModelsRequest*,
                                       v1::ListModelsResponse* response) override {
    grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
    const absl::Status status = CheckCaller(*context, options_.cluster);
    if (status.ok()) {
      for (const auto& model : options_.context->dispatcher->Models()) {
        v1::Model* entry = response->add_models();
        entry->set_name(model->info.served_name());
        entry->set_max_model_len(model->info.max_model_len());
      }
    }
    reactor->Finish(ToGrpcStatus(status));
    return reactor;
  }

 private:
  const InferenceServer::Options& options_;
  std::atomic<uint64_t> next_loop_{0};
};

class Server final : public InferenceServer {
 public:
  explicit Server(Options options) : options_(std::move(options)), service_(options_) {}

  absl::Status Listen() {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
    grpc::ServerBuilder builder;
    AddListeningPort(builder, options_.tls, options_.address, &port_);
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
    if (server_ == nullptr || port_ == 0) {
      return absl::UnavailableError("--grpc-listen " + options_.address + ": cannot listen there");
    }
    return absl::OkStatus();
  }

  int port() const override { return port_; }
  void Stop() override {
    server_->Shutdown(std::chrono::system_clock::now() + kStopTime);
    server_->Wait();
  }

 private:
  const Options options_;
  Service service_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<InferenceServer>> InferenceServer::Start(Options options) {
  auto server = std::make_unique<Server>(std::move(options));
  if (const absl::Status status = server->Listen(); !status.ok()) return status;
  return std::unique_ptr<InferenceServer>(std::move(server));
}

}  // namespace slmmesh
