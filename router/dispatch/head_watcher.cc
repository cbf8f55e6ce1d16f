#include "router/dispatch/head_watcher.h"

#include <grpcpp/grpcpp.h>

#include <condition_variable>
#include <optional>

#include "common/grpc_status.h"
#include "common/log.h"
#include "slmmesh/v1/head.grpc.pb.h"

namespace slmmesh {
namespace {

constexpr absl::Duration kRetryInterval = absl::Milliseconds(250);

}  // namespace

struct HeadWatcher::Shared {
  OnTable on_table;
  std::mutex mutex;
  std::condition_variable ended;
  Stream* stream = nullptr;  // the one that runs
  bool got_table = false;    // on this stream
  std::optional<v1::RouterReport> unsent;
  v1::RouterReport last;  // sent again at the start of each stream
};

class HeadWatcher::Stream final : public grpc::ClientBidiReactor<v1::RouterReport, v1::ClusterTable> {
 public:
  explicit Stream(std::shared_ptr<Shared> shared) : shared_(std::move(shared)) {}

  // With the mutex held, as all that touches `unsent`.
  void Start(const std::shared_ptr<grpc::Channel>& channel) {
    stub_ = v1::Head::NewStub(channel);
    stub_->async()->Watch(&context_, this);
    AddHold();  // writes start outside of reactions; dropped when reading ends
    StartRead(&incoming_);
    StartCall();
    MaybeWrite();
  }

  void Cancel() { context_.TryCancel(); }

  void MaybeWrite() {
    if (writing_ || closed_ || !shared_->unsent.has_value()) return;
    outgoing_ = *std::move(shared_->unsent);
    shared_->unsent.reset();
    writing_ = true;
    StartWrite(&outgoing_);
  }

  void OnReadDone(bool ok) override {
    if (!ok) {
      {
        const std::lock_guard<std::mutex> lock(shared_->mutex);
        closed_ = true;
      }
      return RemoveHold();
    }
    {
      const std::lock_guard<std::mutex> lock(shared_->mutex);
      shared_->got_table = true;
    }
    shared_->on_table(incoming_);
    incoming_.Clear();
    StartRead(&incoming_);
  }

  void OnWriteDone(bool ok) override {
    const std::lock_guard<std::mutex> lock(shared_->mutex);
    writing_ = false;
    if (!ok) closed_ = true;
    MaybeWrite();
  }

  void OnDone(const grpc::Status& status) override {
    const std::shared_ptr<Shared> shared = shared_;
    const std::lock_guard<std::mutex> lock(shared->mutex);
    if (shared->got_table) LogWarning("router.head_lost", {{"reason", FromGrpcStatus(status)}});
    shared->stream = nullptr;
    shared->got_table = false;
    shared->unsent = shared->last;
    // Before the watcher may end: the last of the channel would take the thread with it that runs this, one of gRPC's,
    // which cannot join itself (gRPC 1.51 then frees the queue that the thread waits on).
    delete this;
    shared->ended.notify_all();
  }

 private:
  std::shared_ptr<Shared> shared_;
  std::unique_ptr<v1::Head::Stub> stub_;
  grpc::ClientContext context_;
  v1::ClusterTable incoming_;
  v1::RouterReport outgoing_;
  bool writing_ = false;
  bool closed_ = false;
};

HeadWatcher::HeadWatcher(std::shared_ptr<grpc::Channel> channel, OnTable on_table)
    : channel_(std::move(channel)), shared_(new Shared) {
  shared_->on_table = std::move(on_table);
}

HeadWatcher::~HeadWatcher() {
  std::unique_lock<std::mutex> lock(shared_->mutex);
  if (shared_->stream != nullptr) shared_->stream->Cancel();
  shared_->ended.wait(lock, [this] { return shared_->stream == nullptr; });
}

void HeadWatcher::Tick(absl::Time now) {
  const std::lock_guard<std::mutex> lock(shared_->mutex);
  if (shared_->stream != nullptr || now < next_attempt_) return;
  next_attempt_ = now + kRetryInterval;
  shared_->stream = new Stream(shared_);  // deletes itself when it ends
  shared_->stream->Start(channel_);
}

void HeadWatcher::Report(const v1::RouterReport& report) {
  const std::lock_guard<std::mutex> lock(shared_->mutex);
  shared_->last = report;
  shared_->unsent = report;
  if (shared_->stream != nullptr) shared_->stream->MaybeWrite();
}

bool HeadWatcher::connected() const {
  const std::lock_guard<std::mutex> lock(shared_->mutex);
  return shared_->got_table;
}

}  // namespace slmmesh
