#include "router/dispatch/worker_session.h"

#include <google/protobuf/arena.h>

#include <atomic>

namespace slmmesh {
namespace {

constexpr size_t kBlockBytes = 4 << 10;  // the outputs of a usual step

class Session final : public WorkerSession, private GrpcStream::Handler {
 public:
  Session(const v1::SessionHello& hello, Listener* listener) : hello_(hello), listener_(listener) {}

  void Start(Loop* loop, GrpcStream::Options worker) {
    v1::SessionRequest first;
    *first.mutable_hello() = hello_;
    stream_ = GrpcStream::Open(loop, std::move(worker), this);
    stream_->Send(first.SerializeAsString());
  }

  const v1::SessionHello& hello() const override { return hello_; }

  bool Submit(v1::Submit submit) override {
    if (closed_) return false;
    v1::SessionRequest request;
    request.mutable_submit()->Swap(&submit);
    stream_->Send(request.SerializeAsString());
    return true;
  }

  void Cancel(uint64_t handle) override {
    v1::SessionRequest request;
    request.mutable_cancel()->set_handle(handle);
    stream_->Send(request.SerializeAsString());
  }

  void Close() override { stream_->Close(); }
  void Abandon() override { stream_->Abandon(); }

 private:
  void OnMessage(std::string_view message) override {
    // Its outputs lie side by side, and all go at once.
    google::protobuf::ArenaOptions options;
    options.start_block_size = kBlockBytes;
    const auto arena = std::make_shared<google::protobuf::Arena>(options);
    auto* response = google::protobuf::Arena::CreateMessage<v1::SessionResponse>(arena.get());
    if (!response->ParseFromArray(message.data(), static_cast<int>(message.size()))) return stream_->Close();
    listener_->OnMessage(this, std::shared_ptr<const v1::SessionResponse>(arena, response));
  }

  void OnClosed(const absl::Status& status) override {
    closed_ = true;
    listener_->OnClosed(this, status);
  }

  const v1::SessionHello hello_;
  Listener* const listener_;
  std::shared_ptr<GrpcStream> stream_;
  // A Submit that comes too late to see it is broken by the OnClosed that follows on the loops.
  std::atomic<bool> closed_ = false;
};

}  // namespace

std::shared_ptr<WorkerSession> WorkerSession::Open(Loop* loop, GrpcStream::Options worker,
                                                   const v1::SessionHello& hello, Listener* listener) {
  auto session = std::make_shared<Session>(hello, listener);
  session->Start(loop, std::move(worker));
  return session;
}

}  // namespace slmmesh
