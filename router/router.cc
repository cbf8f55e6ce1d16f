#include "router/router.h"

#include <algorithm>
#include <thread>

#include "absl/time/clock.h"
#include "common/admin_server.h"
#include "common/log.h"
#include "common/net.h"
#include "common/status.h"
#include "router/api/api.h"
#include "router/dispatch/dispatcher.h"
#include "router/grpc/inference_service.h"
#include "router/http/http_server.h"
#include "router/metrics.h"

namespace slmmesh {
namespace {

constexpr uint32_t kMaxDefaultThreads = 4;
constexpr uint32_t kPromptThreads = 2;
constexpr int kKeysEveryTicks = 1000 / Loop::kTickMs;

class RouterImpl final : public Router {
 public:
  explicit RouterImpl(RouterOptions options) : options_(std::move(options)), router_metrics_(&metrics_) {
    uint32_t threads = options_.threads;
    // A loop serves some 20,000 requests a second; two share less than they cost each other on two cores.
    if (threads == 0) threads = std::clamp(std::thread::hardware_concurrency() / 2, 1u, kMaxDefaultThreads);
    for (uint32_t i = 0; i < threads; ++i) loops_.push_back(std::make_unique<Loop>(i));
  }

  // First what calls into the loops, then their threads, then what their requests refer to.
  ~RouterImpl() override {
    admin_server_.reset();
    if (inference_server_ != nullptr) inference_server_->Stop();
    for (const std::unique_ptr<Loop>& loop : loops_) loop->Stop();
    for (const std::unique_ptr<Loop>& loop : loops_) loop->Join();
    prompt_pool_.reset();
    if (dispatcher_ != nullptr) dispatcher_->Stop();
    inference_server_.reset();
    http_server_.reset();
    loops_.clear();
  }

  absl::Status Listen() {
    ASSIGN_OR_RETURN(api_keys_, ApiKeysFile::Open(options_.api_keys_file));
    MakeDispatcher();
    FillContext();
    RETURN_IF_ERROR(ListenHttp());
    RETURN_IF_ERROR(ListenGrpc());
    RETURN_IF_ERROR(ListenAdmin());
    dispatcher_->SetEndpoints(http_address(), grpc_address());
    loops_[0]->EveryTick([this] { Tick(); });
    for (const std::unique_ptr<Loop>& loop : loops_) loop->Start();
    return absl::OkStatus();
  }

  std::string http_address() const override { return http_server_->address(); }
  std::string grpc_address() const override { return grpc_address_; }
  std::string admin_address() const override { return admin_address_; }

  void Drain(absl::Duration limit) override {
    context_.draining = true;
    http_server_->Drain();
    const absl::Time end = absl::Now() + limit;
    while (http_server_->open_connections() > 0 && absl::Now() < end) absl::SleepFor(absl::Milliseconds(20));
  }

 private:
  std::vector<Loop*> LoopPointers() const {
    std::vector<Loop*> loops;
    for (const std::unique_ptr<Loop>& loop : loops_) loops.push_back(loop.get());
    return loops;
  }

  void MakeDispatcher() {
    Dispatcher::Options dispatch;
    dispatch.router_id = options_.router_id;
    dispatch.cluster = options_.cluster;
    dispatch.head_address = options_.head_address;
    dispatch.tls = options_.tls;
    dispatch.queue = options_.queue;
    dispatch.wait_for_group = options_.wait_for_group;
    dispatch.served_model_name = options_.served_model_name;
    dispatcher_ = std::make_unique<Dispatcher>(std::move(dispatch), LoopPointers(), &router_metrics_);
  }

  void FillContext() {
    context_.dispatcher = dispatcher_.get();
    context_.prompt_pool = prompt_pool_.get();
    context_.api_keys = api_keys_.get();
    context_.router_metrics = &router_metrics_;
    context_.metrics = &metrics_;
    context_.limits = options_.request;
    context_.defaults = options_.defaults;
    context_.request_timeout = options_.request_timeout;
  }

  absl::Status ListenHttp() {
    HttpServer::Options http;
    http.address = options_.listen;
    http.tls_cert_file = options_.tls_cert_file;
    http.tls_key_file = options_.tls_key_file;
    http.allow_plaintext = options_.allow_plaintext;
    http.limits = options_.http;
    http.loops = LoopPointers();
    http.handler = &api_;
    http.metrics = &router_metrics_;
    ASSIGN_OR_RETURN(http_server_, HttpServer::Listen(std::move(http)));
    context_.show_metrics = http_server_->is_loopback();
    return absl::OkStatus();
  }

  absl::Status ListenGrpc() {
    if (options_.grpc_listen.empty()) return absl::OkStatus();
    InferenceServer::Options grpc;
    grpc.address = options_.grpc_listen;
    grpc.cluster = options_.cluster;
    grpc.tls = options_.tls;
    grpc.loops = LoopPointers();
    grpc.context = &context_;
    ASSIGN_OR_RETURN(inference_server_, InferenceServer::Start(std::move(grpc)));
    grpc_address_ = WithPort(options_.grpc_listen, inference_server_->port());
    return absl::OkStatus();
  }

  absl::Status ListenAdmin() {
    if (options_.admin_listen.empty()) return absl::OkStatus();
    AdminServer::Options admin;
    admin.address = options_.admin_listen;
    admin.tls = options_.tls;
    admin.cluster = options_.cluster;
    admin.metrics = &metrics_;
    admin.ready = [this] { return !context_.draining && dispatcher_->IsReady(); };
    ASSIGN_OR_RETURN(admin_server_, AdminServer::Start(std::move(admin)));
    admin_address_ = WithPort(options_.admin_listen, admin_server_->port());
    return absl::OkStatus();
  }

  static std::string WithPort(const std::string& address, int port) {
    const absl::StatusOr<HostPort> parts = SplitHostPort(address);
    return JoinHostPort(parts.ok() ? parts->host : "127.0.0.1", static_cast<uint16_t>(port));
  }

  void Tick() {
    dispatcher_->Tick();
    router_metrics_.connections.Set(http_server_->open_connections());
    if (++ticks_ % kKeysEveryTicks == 0) api_keys_->Refresh();
  }

  const RouterOptions options_;
  Metrics metrics_;
  RouterMetrics router_metrics_;
  std::unique_ptr<ApiKeysFile> api_keys_;
  std::unique_ptr<PromptPool> prompt_pool_ = std::make_unique<PromptPool>(kPromptThreads);
  ApiContext context_;
  Api api_{&context_};
  std::unique_ptr<Dispatcher> dispatcher_;
  std::vector<std::unique_ptr<Loop>> loops_;
  std::unique_ptr<HttpServer> http_server_;
  std::unique_ptr<InferenceServer> inference_server_;
  std::unique_ptr<AdminServer> admin_server_;
  std::string grpc_address_, admin_address_;
  int64_t ticks_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Router>> Router::Start(RouterOptions options) {
  auto router = std::make_unique<RouterImpl>(std::move(options));
  RETURN_IF_ERROR(router->Listen());
  return std::unique_ptr<Router>(std::move(router));
}

}  // namespace slmmesh
