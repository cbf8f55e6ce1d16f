#include "head/head_service.h"

#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <thread>

#include "common/grpc_status.h"
#include "common/log.h"
#include "common/status.h"
#include "head/head_metrics.h"
#include "head/observers.h"
#include "slmmesh/v1/head.grpc.pb.h"

namespace slmmesh {
namespace {

constexpr std::chrono::milliseconds kTick(100);
constexpr size_t kMaxStreams = 2 * (kMaxMembers + kMaxRouters);  // those of restarted processes overlap for a while

class HeadService;

// Locks: the service's mutex before a stream's. A stream calls the service only while it holds no lock.

// What both kinds of stream share: one write at a time, the latest message replaces one that still waits.
template <typename Request, typename Response>
class Stream : public grpc::ServerBidiReactor<Request, Response> {
 public:
  explicit Stream(StreamId id) : id_(id) {}

  void End(const absl::Status& status) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (ended_) return;
    ended_ = true;
    this->Finish(ToGrpcStatus(status));
  }

  void OnWriteDone(bool ok) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    writing_ = false;
    if (ok) WriteNext();
  }

 protected:
  // With mutex_ held: the message to send next, if any.
  virtual bool NextMessage(Response* message) = 0;

  // With mutex_ held.
  void WriteNext() {
    if (ended_ || writing_ || !NextMessage(&outgoing_)) return;
    writing_ = true;
    this->StartWrite(&outgoing_);
  }

  const StreamId id_;
  std::mutex mutex_;
  Request incoming_;

 private:
  Response outgoing_;
  bool writing_ = false;
  bool ended_ = false;
};

class JoinStream : public Stream<v1::JoinRequest, v1::JoinResponse> {
 public:
  // `pod`: the caller's, by its certificate.
  JoinStream(StreamId id, HeadService& service, std::string pod)
      : Stream(id), service_(service), pod_(std::move(pod)) {}
  void Begin() { StartRead(&incoming_); }
  void Send(const v1::JoinResponse& response) {
    const std::lock_guard<std::mutex> lock(mutex_);
    (response.has_lease() ? lease_ : command_) = response;
    WriteNext();
  }
  void OnReadDone(bool ok) override;
  void OnDone() override;

 private:
  // The lease comes first. Of commands only the last one counts: it says where the worker is to sit now.
  bool NextMessage(v1::JoinResponse* message) override {
    std::optional<v1::JoinResponse>& next = lease_.has_value() ? lease_ : command_;
    if (!next.has_value()) return false;
    message->Swap(&*next);
    next.reset();
    return true;
  }

  absl::Status Take(Membership& membership);

  HeadService& service_;
  const std::string pod_;
  std::optional<v1::JoinResponse> lease_;
  std::optional<v1::JoinResponse> command_;
};

class WatchStream : public Stream<v1::RouterReport, v1::ClusterTable> {
 public:
  WatchStream(StreamId id, HeadService& service) : Stream(id), service_(service) {}
  void Begin() { StartRead(&incoming_); }
  void Send(std::shared_ptr<const v1::ClusterTable> table) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (table->version() <= sent_version_) return;
    waiting_ = std::move(table);
    WriteNext();
  }
  void OnReadDone(bool ok) override;
  void OnDone() override;

 private:
  bool NextMessage(v1::ClusterTable* message) override {
    if (waiting_ == nullptr) return false;
    *message = *waiting_;
    sent_version_ = waiting_->version();
    waiting_.reset();
    return true;
  }

  HeadService& service_;
  std::shared_ptr<const v1::ClusterTable> waiting_;
  uint64_t sent_version_ = 0;
};

// Refuses a stream at its start.
template <typename Request, typename Response>
class RefusedStream : public grpc::ServerBidiReactor<Request, Response> {
 public:
  explicit RefusedStream(const absl::Status& status) { this->Finish(ToGrpcStatus(status)); }
  void OnDone() override { delete this; }
};

class HeadService : public v1::Head::CallbackService {
 public:
  HeadService(const std::string& cluster, const MembershipOptions& options, Metrics* metrics)
      : cluster_(cluster), metrics_(metrics), membership_(options, Clock::Real()) {
    const std::lock_guard<std::mutex> lock(mutex_);
    Publish();
  }

  // Changes the membership, then sends what follows from the change. `change` returns what `Update` is to return.
  template <typename Change>
  auto Update(Change change) {
    const std::lock_guard<std::mutex> lock(mutex_);
    struct Publisher {  // runs after `change`, whatever that returns
      HeadService& service;
      ~Publisher() { service.Publish(); }
    } publisher{*this};
    return change(membership_);
  }

  grpc::ServerBidiReactor<v1::JoinRequest, v1::JoinResponse>* Join(grpc::CallbackServerContext* context) override {
    if (absl::Status refusal = CheckStream("Join", *context, {Role::kWorker}); !refusal.ok()) {
      return new RefusedStream<v1::JoinRequest, v1::JoinResponse>(refusal);
    }
    return Open<JoinStream>(&joins_, PeerIdentity(*context)->pod);
  }

  grpc::ServerBidiReactor<v1::RouterReport, v1::ClusterTable>* Watch(grpc::CallbackServerContext* context) override {
    if (absl::Status refusal = CheckStream("Watch", *context, {Role::kRouter}); !refusal.ok()) {
      return new RefusedStream<v1::RouterReport, v1::ClusterTable>(refusal);
    }
    auto* stream = Open<WatchStream>(&watches_);
    const std::lock_guard<std::mutex> lock(mutex_);
    if (membership_.settled()) stream->Send(published_);
    return stream;
  }

  grpc::ServerUnaryReactor* GetTable(grpc::CallbackServerContext* context, const v1::GetTableRequest*,
                                     v1::ClusterTable* table) override {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    const absl::Status peer = Check("GetTable", *context, {Role::kRouter, Role::kOperator, Role::kAdmin});
    if (peer.ok()) *table = Table();
    reactor->Finish(ToGrpcStatus(peer));
    return reactor;
  }

  grpc::ServerWriteReactor<v1::ClusterTable>* Observe(grpc::CallbackServerContext* context,
                                                      const v1::ObserveRequest*) override {
    auto* stream = new ObserveStream([this](ObserveStream* done) {
      const std::lock_guard<std::mutex> lock(mutex_);
      observers_.Remove(done);
    });
    absl::Status status = Check("Observe", *context, {Role::kOperator});
    const std::lock_guard<std::mutex> lock(mutex_);
    if (status.ok()) status = observers_.Add(stream);
    if (status.ok()) {
      Publish();
    } else {
      stream->End(status);
    }
    return stream;
  }

  grpc::ServerUnaryReactor* SetDraining(grpc::CallbackServerContext* context, const v1::SetDrainingRequest* request,
                                        v1::SetDrainingResponse*) override {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    absl::Status status = Check("SetDraining", *context, {Role::kOperator});
    if (status.ok()) {
      status = Update([request](Membership& membership) {
        return membership.SetDraining({request->worker_ids().begin(), request->worker_ids().end()});
      });
    }
    reactor->Finish(ToGrpcStatus(status));
    return reactor;
  }

  void Forget(StreamId id) {
    Update([id](Membership& membership) {
      membership.EndStream(id);
      membership.EndRouter(id);
    });
    const std::lock_guard<std::mutex> lock(mutex_);
    joins_.erase(id);
    watches_.erase(id);
  }

  v1::ClusterTable Table() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return membership_.Table();
  }

  bool settled() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return membership_.settled();
  }

 private:
  absl::Status Check(const char* method, const grpc::CallbackServerContext& context,
                     std::initializer_list<Role> roles) const {
    absl::Status peer = CheckPeer(context, cluster_, roles);
    if (!peer.ok()) LogWarning("head.peer_refused", {{"method", method}, {"reason", peer}});
    return peer;
  }

  absl::Status CheckStream(const char* method, const grpc::CallbackServerContext& context,
                           std::initializer_list<Role> roles) const {
    RETURN_IF_ERROR(Check(method, context, roles));
    const std::lock_guard<std::mutex> lock(mutex_);
    if (joins_.size() + watches_.size() < kMaxStreams) return absl::OkStatus();
    return absl::ResourceExhaustedError(absl::StrCat("this head serves at most ", kMaxStreams, " streams"));
  }

  template <typename StreamType, typename... Arguments>
  StreamType* Open(std::map<StreamId, StreamType*>* streams, Arguments... arguments) {
    StreamType* stream;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      stream = new StreamType(++last_stream_id_, *this, std::move(arguments)...);
      (*streams)[last_stream_id_] = stream;
    }
    stream->Begin();
    return stream;
  }

  // With mutex_ held.
  void Publish() {
    for (const Membership::Message& message : membership_.TakeMessages()) {
      const auto stream = joins_.find(message.stream);
      if (stream == joins_.end()) continue;
      if (message.end.ok()) {
        stream->second->Send(message.response);
      } else {
        stream->second->End(message.end);
      }
    }
    const bool settled = membership_.settled();
    const bool changed = published_ == nullptr || published_->version() != membership_.version();
    if (changed) published_ = std::make_shared<const v1::ClusterTable>(membership_.Table());
    if (settled && (changed || !published_once_)) {
      published_once_ = true;
      for (const auto& [id, watch] : watches_) watch->Send(published_);
    }
    observers_.Publish(membership_, Clock::Real().Now());
    if (metrics_ != nullptr) UpdateHeadMetrics(*metrics_, membership_);
  }

  const std::string cluster_;
  Metrics* const metrics_;
  mutable std::mutex mutex_;  // guards all below
  Membership membership_;
  std::shared_ptr<const v1::ClusterTable> published_;
  bool published_once_ = false;
  StreamId last_stream_id_ = 0;
  std::map<StreamId, JoinStream*> joins_;  // each deletes itself when done, after Forget()
  std::map<StreamId, WatchStream*> watches_;
  Observers observers_;
};

void JoinStream::OnReadDone(bool ok) {
  if (!ok) return End(absl::OkStatus());  // the worker is gone; OnDone() follows
  const absl::Status status = service_.Update([this](Membership& membership) { return Take(membership); });
  if (!status.ok()) return End(status);
  StartRead(&incoming_);
}

absl::Status JoinStream::Take(Membership& membership) {
  if (incoming_.has_status()) return membership.Report(id_, incoming_.status());
  if (!incoming_.has_offer()) return absl::InvalidArgumentError("the message is neither an offer nor a status");
  // Else any worker's certificate could take any worker's seat.
  const std::string& worker = incoming_.offer().worker_id();
  if (!worker.empty() && worker != pod_) {
    return absl::PermissionDeniedError(absl::StrCat("offer.worker_id is \"", worker, "\", but the certificate names \"",
                                                    pod_, "\"; start the worker with the name on its certificate"));
  }
  return membership.Join(id_, incoming_.offer());
}

void JoinStream::OnDone() {
  service_.Forget(id_);
  delete this;
}

void WatchStream::OnReadDone(bool ok) {
  if (!ok) return End(absl::OkStatus());
  const absl::Status status =
      service_.Update([this](Membership& membership) { return membership.ReportRouter(id_, incoming_); });
  if (!status.ok()) return End(status);
  StartRead(&incoming_);
}

void WatchStream::OnDone() {
  service_.Forget(id_);
  delete this;
}

class GrpcHeadServer : public HeadServer {
 public:
  explicit GrpcHeadServer(const Options& options) : service_(options.cluster, options.membership, options.metrics) {}

  ~GrpcHeadServer() override {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    if (ticker_.joinable()) ticker_.join();
    // At once: streams never end by themselves, and peers dial again anyway.
    if (server_ != nullptr) server_->Shutdown(std::chrono::system_clock::now());
  }

  absl::Status Listen(const Options& options) {
    grpc::ServerBuilder builder;
    AddListeningPort(builder, options.tls, options.address, &port_);
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
    if (server_ == nullptr || port_ == 0) {
      return absl::UnavailableError(absl::StrCat("cannot listen on ", options.address, " (is the port in use?)"));
    }
    ticker_ = std::thread([this] { Tick(); });
    return absl::OkStatus();
  }

  int port() const override { return port_; }
  bool settled() const override { return service_.settled(); }
  v1::ClusterTable Table() const override { return service_.Table(); }

 private:
  void Tick() {
    std::unique_lock<std::mutex> lock(mutex_);
    while (!wake_.wait_for(lock, kTick, [this] { return stopping_; })) {
      service_.Update([](Membership& membership) { membership.Tick(); });
    }
  }

  HeadService service_;
  int port_ = 0;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  std::unique_ptr<grpc::Server> server_;
  std::thread ticker_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<HeadServer>> HeadServer::Start(const Options& options) {
  RETURN_IF_ERROR(MakeServerContext(options.tls).status());  // a clear error now instead of failing handshakes later
  auto server = std::make_unique<GrpcHeadServer>(options);
  RETURN_IF_ERROR(server->Listen(options));
  return server;
}

}  // namespace slmmesh
