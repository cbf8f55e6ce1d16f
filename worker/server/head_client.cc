#include "worker/server/head_client.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <optional>
#include <thread>

#include "absl/random/random.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "common/grpc_status.h"
#include "common/log.h"
#include "slmmesh/v1/head.grpc.pb.h"

namespace slmmesh {
namespace {

constexpr absl::Duration kFirstBackoff = absl::Milliseconds(50);
constexpr absl::Duration kLongestBackoff = absl::Seconds(2);
constexpr absl::Duration kLeaveTime = absl::Seconds(1);
constexpr absl::Duration kFirstHeartbeat = absl::Seconds(1);  // until the head's lease says how often
constexpr absl::Duration kShortestHeartbeat = absl::Milliseconds(10);

using JoinCall = grpc::ClientReaderWriter<v1::JoinRequest, v1::JoinResponse>;

class HeadClientImpl : public HeadClient {
 public:
  explicit HeadClientImpl(Options options)
      : options_(std::move(options)),
        stub_(v1::Head::NewStub(MakeChannel(options_.tls, options_.cluster, Role::kHead, options_.head))) {
    status_.set_phase(v1::WORKER_PHASE_IDLE);
  }
  ~HeadClientImpl() override { Leave(); }

  void Start(Callbacks callbacks) override {
    callbacks_ = std::move(callbacks);
    thread_ = std::thread([this] { Loop(); });
  }
  void SetStatus(const v1::WorkerStatus& status) override {
    absl::MutexLock lock(&mutex_);
    status_ = status;
    is_unsent_ = true;
  }
  void SetLoad(const v1::LoadReport& load) override {
    absl::MutexLock lock(&mutex_);
    load_ = load;
  }
  void AnnounceLeaving() override {
    absl::MutexLock lock(&mutex_);
    announces_leaving_ = true;
    is_unsent_ = true;
  }
  void Leave() override;

 private:
  void Loop();
  absl::Status ServeOneStream();
  void Read(JoinCall* call);
  bool WriteUntilOver(JoinCall* call);
  v1::Offer CurrentOffer() const;
  std::optional<v1::WorkerStatus> AwaitStatus();

  const Options options_;
  const std::unique_ptr<v1::Head::Stub> stub_;
  Callbacks callbacks_;
  mutable absl::Mutex mutex_;
  v1::WorkerStatus status_ ABSL_GUARDED_BY(mutex_);
  v1::LoadReport load_ ABSL_GUARDED_BY(mutex_);
  bool is_unsent_ ABSL_GUARDED_BY(mutex_) = true;
  bool announces_leaving_ ABSL_GUARDED_BY(mutex_) = false;
  bool is_leaving_ ABSL_GUARDED_BY(mutex_) = false;
  bool is_read_to_the_end_ ABSL_GUARDED_BY(mutex_) = false;
  bool is_over_ ABSL_GUARDED_BY(mutex_) = false;  // the thread has ended
  bool has_lease_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Duration heartbeat_ ABSL_GUARDED_BY(mutex_) = kFirstHeartbeat;
  grpc::ClientContext* context_ ABSL_GUARDED_BY(mutex_) = nullptr;  // of the stream under way
  std::thread thread_;
};

void HeadClientImpl::Leave() {
  if (!thread_.joinable()) return;
  {
    absl::MutexLock lock(&mutex_);
    is_leaving_ = true;
    if (!mutex_.AwaitWithTimeout(absl::Condition(&is_over_), kLeaveTime) && context_ != nullptr) context_->TryCancel();
  }
  thread_.join();
}

void HeadClientImpl::Loop() {
  absl::BitGen random;
  absl::Duration backoff = kFirstBackoff;
  while (true) {
    const absl::Status end = ServeOneStream();
    absl::MutexLock lock(&mutex_);
    if (has_lease_) backoff = kFirstBackoff;
    if (!is_leaving_) {
      LogWarning("head.lost", {{"head", options_.head}, {"reason", end}});
      // Half of it by chance: the workers of a head that restarts shall not come in step.
      mutex_.AwaitWithTimeout(absl::Condition(&is_leaving_), backoff * absl::Uniform(random, 0.5, 1.0));
      backoff = std::min(backoff * 2, kLongestBackoff);
    }
    if (is_leaving_) {
      is_over_ = true;
      return;
    }
  }
}

absl::Status HeadClientImpl::ServeOneStream() {
  grpc::ClientContext context;
  {
    absl::MutexLock lock(&mutex_);
    if (is_leaving_) return absl::OkStatus();
    context_ = &context;
    is_read_to_the_end_ = false;
    has_lease_ = false;
    is_unsent_ = true;
  }
  const std::unique_ptr<JoinCall> call = stub_->Join(&context);
  v1::JoinRequest first;
  *first.mutable_offer() = CurrentOffer();
  std::thread reader([&] { Read(call.get()); });
  const bool in_order = call->Write(first) && WriteUntilOver(call.get()) && call->WritesDone();
  if (in_order) {  // leaving: the head ends the stream
    absl::MutexLock lock(&mutex_);
    mutex_.AwaitWithTimeout(absl::Condition(&is_read_to_the_end_), kLeaveTime / 2);
  }
  context.TryCancel();
  reader.join();
  {
    absl::MutexLock lock(&mutex_);
    context_ = nullptr;
  }
  return FromGrpcStatus(call->Finish());
}

v1::Offer HeadClientImpl::CurrentOffer() const {
  absl::MutexLock lock(&mutex_);
  v1::Offer offer = options_.offer;
  const bool holds = status_.has_seat() && status_.phase() != v1::WORKER_PHASE_FAILED;
  if (holds) *offer.mutable_seat() = status_.seat();
  offer.set_leaving(announces_leaving_);
  return offer;
}

void HeadClientImpl::Read(JoinCall* call) {
  v1::JoinResponse response;
  while (call->Read(&response)) {
    if (response.has_lease()) {
      absl::MutexLock lock(&mutex_);
      has_lease_ = true;
      heartbeat_ = std::max(absl::Milliseconds(response.lease().heartbeat_ms()), kShortestHeartbeat);
      LogInfo("head.joined", {{"head", response.lease().head_id()}, {"heartbeat_ms", response.lease().heartbeat_ms()}});
    } else if (response.has_assignment()) {
      callbacks_.on_assignment(response.assignment());
    } else if (response.has_release()) {
      callbacks_.on_release(response.release());
    } else if (response.has_drain()) {
      callbacks_.on_drain(response.drain());
    }
  }
  absl::MutexLock lock(&mutex_);
  is_read_to_the_end_ = true;
}

// False when the stream broke; true when the worker leaves.
bool HeadClientImpl::WriteUntilOver(JoinCall* call) {
  while (true) {
    const std::optional<v1::WorkerStatus> status = AwaitStatus();
    if (!status.has_value()) break;
    v1::JoinRequest request;
    *request.mutable_status() = *status;
    if (!call->Write(request)) return false;
  }
  absl::MutexLock lock(&mutex_);
  return is_leaving_;
}

// The status to send: after a change at once, else as a heartbeat. Absent: the stream is over, or to be left.
std::optional<v1::WorkerStatus> HeadClientImpl::AwaitStatus() {
  absl::MutexLock lock(&mutex_);
  const auto awake = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return is_unsent_ || is_leaving_ || is_read_to_the_end_;
  };
  mutex_.AwaitWithTimeout(absl::Condition(&awake), heartbeat_);
  if (is_read_to_the_end_ || (is_leaving_ && !is_unsent_)) return std::nullopt;
  is_unsent_ = false;
  v1::WorkerStatus status = status_;
  status.set_leaving(announces_leaving_);
  const bool leads = status.phase() == v1::WORKER_PHASE_SERVING && status.seat().rank() == 0;
  if (leads) *status.mutable_load() = load_;
  return status;
}

}  // namespace

std::unique_ptr<HeadClient> HeadClient::Create(Options options) {
  return std::make_unique<HeadClientImpl>(std::move(options));
}

}  // namespace slmmesh
