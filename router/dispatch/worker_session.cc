#include "router/dispatch/worker_session.h"

#include <grpcpp/grpcpp.h>

#include <deque>
#include <mutex>

#include "common/grpc_status.h"
#include "slmmesh/v1/worker.grpc.pb.h"

namespace slmmesh {
namespace {

class Session final : public WorkerSession, public grpc::ClientBidiReactor<v1::SessionRequest, v1::SessionResponse> {
 public:
  Session(const std::shared_ptr<grpc::Channel>& channel, const v1::SessionHello& hello, Listener* listener)
      : hello_(hello), listener_(listener), stub_(v1::Worker::NewStub(channel)) {}

  void Start(std::shared_ptr<Session> self) {
    self_ = std::move(self);
    stub_->async()->Session(&context_, this);
    v1::SessionRequest first;
    *first.mutable_hello() = hello_;
    AddHold();  // writes start outside of reactions; dropped when reading ends
    StartRead(&incoming_);
    Send(std::move(first));
    StartCall();
  }

  const v1::SessionHello& hello() const override { return hello_; }

  bool Submit(v1::Submit submit) override {
    v1::SessionRequest request;
    *request.mutable_submit() = std::move(submit);
    return Send(std::move(request));
  }

  void Cancel(uint64_t handle) override {
    v1::SessionRequest request;
    request.mutable_cancel()->set_handle(handle);
    Send(std::move(request));
  }

  void Close() override { context_.TryCancel(); }

  void OnReadDone(bool ok) override {
    if (!ok) {
      {
        const std::lock_guard<std::mutex> lock(mutex_);
        closed_ = true;
      }
      RemoveHold();
      return;
    }
    auto message = std::make_shared<v1::SessionResponse>();
    message->Swap(&incoming_);
    listener_->OnMessage(this, std::move(message));
    StartRead(&incoming_);
  }

  void OnWriteDone(bool ok) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    outgoing_.pop_front();
    if (!ok) closed_ = true;
    if (closed_) {
      outgoing_.clear();
    } else if (!outgoing_.empty()) {
      WriteFront();
    }
  }

  void OnDone(const grpc::Status& status) override {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      closed_ = true;
    }
    const std::shared_ptr<Session> self = std::move(self_);
    listener_->OnClosed(this, FromGrpcStatus(status));
  }

 private:
  bool Send(v1::SessionRequest request) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (closed_) return false;
    outgoing_.push_back(std::move(request));
    if (outgoing_.size() == 1) WriteFront();
    return true;
  }

  // Under the mutex. More to come: leave this one in gRPC's buffer, so that a burst goes out as one packet.
  void WriteFront() {
    grpc::WriteOptions options;
    if (outgoing_.size() > 1) options.set_buffer_hint();
    StartWrite(&outgoing_.front(), options);
  }

  const v1::SessionHello hello_;
  Listener* const listener_;
  const std::unique_ptr<v1::Worker::Stub> stub_;
  grpc::ClientContext context_;
  v1::SessionResponse incoming_;
  std::shared_ptr<Session> self_;  // until OnDone

  std::mutex mutex_;
  // Two messages a request at most (submit, cancel); admission bounds the requests.
  std::deque<v1::SessionRequest> outgoing_;
  bool closed_ = false;
};

}  // namespace

std::shared_ptr<WorkerSession> WorkerSession::Open(const std::shared_ptr<grpc::Channel>& channel,
                                                   const v1::SessionHello& hello, Listener* listener) {
  auto session = std::make_shared<Session>(channel, hello, listener);
  session->Start(session);
  return session;
}

}  // namespace slmmesh
