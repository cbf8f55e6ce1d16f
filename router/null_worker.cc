#include "router/null_worker.h"

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/grpc_status.h"
#include "common/log.h"
#include "common/net.h"
#include "common/random.h"
#include "common/status.h"
#include "slmmesh/v1/head.grpc.pb.h"
#include "slmmesh/v1/worker.grpc.pb.h"
#include "text/text.h"

namespace slmmesh {
namespace {

constexpr std::chrono::milliseconds kRejoinDelay(250);
constexpr std::chrono::milliseconds kDefaultHeartbeat(500);
constexpr std::chrono::milliseconds kStopTime(200);

// The same answer for everyone, by gRPC's asynchronous API on one thread: the thread that polls the sockets answers.
class NullService final {
 public:
  NullService(const NullWorker::Options& options, std::vector<uint32_t> answer)
      : options_(options), answer_(std::move(answer)) {}

  void Register(grpc::ServerBuilder* builder) {
    builder->RegisterService(&service_);
    queue_ = builder->AddCompletionQueue();
  }

  void Start() {
    (new ModelCall(this))->Ask();
    (new SessionCall(this))->Ask();
    thread_ = std::thread([this] { Serve(); });
  }

  // After the server's Shutdown().
  void Stop() {
    if (queue_ == nullptr) return;
    queue_->Shutdown();
    if (thread_.joinable()) {
      thread_.join();
    } else {
      Serve();
    }
  }

 private:
  // A call from its arrival to its end; it has one operation under way at any time.
  class Call {
   public:
    virtual ~Call() = default;
    // The operation is done. False: the call is over.
    virtual bool Proceed(bool ok) = 0;
  };

  void Serve() {
    void* call = nullptr;
    for (bool ok = false; queue_->Next(&call, &ok);) {
      if (!static_cast<Call*>(call)->Proceed(ok)) delete static_cast<Call*>(call);
    }
  }

  grpc::Status Check(const grpc::ServerContext& context) const {
    return ToGrpcStatus(CheckPeer(context, options_.cluster, {Role::kRouter}));
  }

  class ModelCall final : public Call {
   public:
    explicit ModelCall(NullService* service) : service_(service), answer_(&context_) {}
    void Ask() {
      service_->service_.RequestGetModel(&context_, &request_, &answer_, service_->queue_.get(), service_->queue_.get(),
                                         this);
    }
    bool Proceed(bool ok) override {
      if (!ok || answered_) return false;
      (new ModelCall(service_))->Ask();
      answered_ = true;
      const grpc::Status peer = service_->Check(context_);
      peer.ok() ? answer_.Finish(service_->options_.model, peer, this) : answer_.FinishWithError(peer, this);
      return true;
    }

   private:
    NullService* const service_;
    grpc::ServerContext context_;
    v1::GetModelRequest request_;
    grpc::ServerAsyncResponseWriter<v1::ModelInfo> answer_;
    bool answered_ = false;
  };

  class SessionCall final : public Call {
   public:
    explicit SessionCall(NullService* service) : service_(service), stream_(&context_) {}
    void Ask() {
      service_->service_.RequestSession(&context_, &stream_, service_->queue_.get(), service_->queue_.get(), this);
    }
    bool Proceed(bool ok) override {
      switch (std::exchange(state_, State::kReading)) {
        case State::kAsking:
          return ok && Begin();
        case State::kReading:
          return ok ? Take() : Finish(grpc::Status::OK);
        case State::kWriting:
          if (!ok) return Finish(grpc::Status::OK);
          stream_.Read(&request_, this);
          return true;
        case State::kFinishing:
          return false;
      }
      return false;
    }

   private:
    enum class State { kAsking, kReading, kWriting, kFinishing };

    bool Begin() {
      (new SessionCall(service_))->Ask();
      if (const grpc::Status peer = service_->Check(context_); !peer.ok()) return Finish(peer);
      stream_.Read(&request_, this);
      return true;
    }

    bool Take() {
      response_.Clear();
      if (request_.has_hello()) {
        Welcome(request_.hello());
      } else if (request_.has_submit()) {
        service_->Answer(request_.submit(), &response_);
      } else {
        stream_.Read(&request_, this);
        return true;
      }
      state_ = State::kWriting;
      stream_.Write(response_, this);
      return true;
    }

    void Welcome(const v1::SessionHello& hello) {
      response_.mutable_welcome()->set_group_id(hello.group_id());
      response_.mutable_welcome()->set_epoch(hello.epoch());
      response_.mutable_load()->set_max_running(1 << 16);
      response_.mutable_block_events()->set_reset(true);
    }

    bool Finish(const grpc::Status& status) {
      state_ = State::kFinishing;
      stream_.Finish(status, this);
      return true;
    }

    NullService* const service_;
    grpc::ServerContext context_;
    grpc::ServerAsyncReaderWriter<v1::SessionResponse, v1::SessionRequest> stream_;
    State state_ = State::kAsking;
    v1::SessionRequest request_;
    v1::SessionResponse response_;
  };

  void Answer(const v1::Submit& submit, v1::SessionResponse* response) const {
    const uint32_t count = std::min<uint32_t>(submit.sampling().max_tokens(), answer_.size());
    for (uint32_t i = 0; i < count; ++i) {
      v1::TokenOutput* output = response->add_outputs();
      output->set_handle(submit.handle());
      output->set_token_id(answer_[i]);
      output->set_index(i);
      if (i + 1 == count) output->set_finish_reason(v1::FINISH_REASON_LENGTH);
    }
    response->mutable_load()->set_max_running(1 << 16);
  }

  const NullWorker::Options& options_;
  const std::vector<uint32_t> answer_;
  v1::Worker::AsyncService service_;
  std::unique_ptr<grpc::ServerCompletionQueue> queue_;
  std::thread thread_;
};

// Keeps the seat at the head: joins, takes what it is assigned, beats.
class Membership {
 public:
  Membership(const NullWorker::Options& options, const std::string& endpoint)
      : options_(options), endpoint_(endpoint), incarnation_(RandomUint64()), thread_([this] { Run(); }) {}
  ~Membership() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      stop_ = true;
      if (context_ != nullptr) context_->TryCancel();
    }
    wake_.notify_all();
    thread_.join();
  }

 private:
  using Stream = grpc::ClientReaderWriter<v1::JoinRequest, v1::JoinResponse>;

  void Run() {
    const auto stub =
        v1::Head::NewStub(MakeChannel(options_.tls, options_.cluster, Role::kHead, options_.head_address));
    std::unique_lock<std::mutex> lock(mutex_);
    while (!stop_) {
      grpc::ClientContext context;
      context_ = &context;
      lock.unlock();
      JoinOnce(stub->Join(&context).get());
      lock.lock();
      context_ = nullptr;
      wake_.wait_for(lock, kRejoinDelay, [this] { return stop_; });
    }
  }

  void JoinOnce(Stream* stream) {
    v1::JoinRequest request;
    v1::Offer* offer = request.mutable_offer();
    offer->set_worker_id(options_.worker_id);
    offer->set_incarnation(incarnation_);
    offer->set_worker_group(options_.worker_group);
    offer->set_tensor_parallel_size(1);
    offer->set_model_key(absl::StrCat(options_.model.served_name(), "@", options_.model.digest()));
    offer->set_accelerator("cpu");
    offer->set_memory_bytes(1);
    offer->set_host_id("null");
    offer->set_endpoint(endpoint_);
    offer->set_exchange_endpoint(endpoint_);
    if (seat_.size() > 0) *offer->mutable_seat() = seat_;
    stream->Write(request);
    ended_ = false;
    std::thread beats([this, stream] { Beat(stream); });
    v1::JoinResponse response;
    while (stream->Read(&response)) Take(response);
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      ended_ = true;
    }
    wake_.notify_all();
    beats.join();
    stream->Finish();
  }

  void Take(const v1::JoinResponse& response) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (response.has_lease()) heartbeat_ = std::chrono::milliseconds(response.lease().heartbeat_ms() / 2 + 1);
      if (response.has_assignment()) seat_ = response.assignment().seat();
      if (response.has_release()) seat_.Clear();
      changed_ = true;
    }
    wake_.notify_all();
  }

  void Beat(Stream* stream) {
    std::unique_lock<std::mutex> lock(mutex_);
    while (!ended_) {
      v1::JoinRequest request;
      v1::WorkerStatus* status = request.mutable_status();
      status->set_phase(seat_.size() > 0 ? v1::WORKER_PHASE_SERVING : v1::WORKER_PHASE_IDLE);
      if (seat_.size() > 0) *status->mutable_seat() = seat_;
      status->set_load_fraction(1);
      changed_ = false;
      lock.unlock();
      stream->Write(request);
      lock.lock();
      wake_.wait_for(lock, heartbeat_, [this] { return ended_ || changed_; });
    }
  }

  const NullWorker::Options& options_;
  const std::string endpoint_;
  const uint64_t incarnation_;
  std::mutex mutex_;
  std::condition_variable wake_;
  grpc::ClientContext* context_ = nullptr;
  v1::GroupSeat seat_;
  std::chrono::milliseconds heartbeat_ = kDefaultHeartbeat;
  bool changed_ = false, ended_ = false, stop_ = false;
  std::thread thread_;
};

class NullWorkerImpl final : public NullWorker {
 public:
  NullWorkerImpl(Options options, std::vector<uint32_t> answer)
      : options_(std::move(options)), service_(options_, std::move(answer)) {}
  ~NullWorkerImpl() override {
    membership_.reset();
    if (server_ != nullptr) server_->Shutdown(std::chrono::system_clock::now() + kStopTime);
    service_.Stop();
  }

  absl::Status Listen() {
    ASSIGN_OR_RETURN(const HostPort address, SplitHostPort(options_.listen));
    grpc::ServerBuilder builder;
    int port = 0;
    AddListeningPort(builder, options_.tls, options_.listen, &port);
    service_.Register(&builder);
    server_ = builder.BuildAndStart();
    if (server_ == nullptr) return absl::UnavailableError("--listen " + options_.listen + ": cannot listen there");
    service_.Start();
    address_ = JoinHostPort(address.host, static_cast<uint16_t>(port));
    LogInfo("null_worker.listening", {{"grpc", address_}});
    membership_ = std::make_unique<Membership>(options_, address_);
    return absl::OkStatus();
  }

  std::string address() const override { return address_; }

 private:
  const Options options_;
  NullService service_;
  std::string address_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<Membership> membership_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<NullWorker>> NullWorker::Start(Options options) {
  ASSIGN_OR_RETURN(const std::shared_ptr<const text::Tokenizer> tokenizer,
                   text::Tokenizer::Create(options.model.tokenizer_json()));
  ASSIGN_OR_RETURN(const std::vector<uint32_t> word, tokenizer->Encode(" word", /*add_special_tokens=*/false));
  if (word.empty()) return absl::InvalidArgumentError("--tokenizer: it has no token for \" word\"");
  std::vector<uint32_t> answer;
  for (uint32_t i = 0; i < options.tokens; ++i) answer.push_back(word[i % word.size()]);
  options.model.set_vocab_size(tokenizer->vocab_size());
  auto worker = std::make_unique<NullWorkerImpl>(std::move(options), std::move(answer));
  RETURN_IF_ERROR(worker->Listen());
  return std::unique_ptr<NullWorker>(std::move(worker));
}

}  // namespace slmmesh
