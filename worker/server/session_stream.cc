#include "worker/server/session_stream.h"

#include <utility>

#include "absl/time/clock.h"
#include "common/grpc_status.h"
#include "common/log.h"
#include "common/status.h"

namespace slmmesh {
namespace {

// A router that leaves one message unread for longer, or lets more than this pile up, is cut off: its requests are
// cancelled and it may come back.
constexpr absl::Duration kSlowest = absl::Seconds(10);
constexpr int kMaxPendingOutputs = 100'000;

}  // namespace

SessionStream* SessionStream::Open(grpc::CallbackServerContext* context, const SeatLeader* leader,
                                   WorkerMetrics* metrics) {
  auto stream = std::make_shared<SessionStream>(context, leader, metrics);
  stream->self_ = stream;
  metrics->sessions.Increment();
  stream->StartRead(&stream->incoming_);
  return stream.get();
}

void SessionStream::OnReadDone(bool ok) {
  const absl::Status status = ok ? Handle(std::exchange(incoming_, {})) : absl::OkStatus();
  if (!ok || !status.ok()) {
    Detach();
    return Close(status);
  }
  absl::MutexLock lock(&mutex_);
  if (!is_finished_) StartRead(&incoming_);
}

absl::Status SessionStream::Handle(v1::SessionRequest request) {
  if (request.has_hello()) return Greet(request.hello());
  if (loop_ == nullptr) return absl::FailedPreconditionError("the first message of a session is its hello");
  if (request.has_submit()) {
    const uint64_t handle = request.submit().handle();
    Command command{Command::Kind::kSubmit, self_, std::move(*request.mutable_submit())};
    if (loop_->Post(std::move(command))) return absl::OkStatus();
    v1::SessionResponse refusal;
    v1::TokenOutput* output = refusal.add_outputs();
    output->set_handle(handle);
    output->set_finish_reason(v1::FINISH_REASON_ERROR);
    output->set_error_code(static_cast<uint32_t>(absl::StatusCode::kResourceExhausted));
    output->set_error_message("the worker cannot take more requests now: try again later");
    Push(std::move(refusal));
    return absl::OkStatus();
  }
  if (request.has_cancel()) {
    if (loop_->Post({Command::Kind::kCancel, self_, {}, request.cancel().handle()})) return absl::OkStatus();
    return absl::ResourceExhaustedError("too many messages wait for the engine");
  }
  return absl::InvalidArgumentError("a session's message is a hello, a submit or a cancel");
}

absl::Status SessionStream::Greet(const v1::SessionHello& hello) {
  if (loop_ != nullptr) return absl::InvalidArgumentError("a session has one hello only");
  ASSIGN_OR_RETURN(std::shared_ptr<EngineLoop> loop, leader_->Find(hello.group_id(), hello.epoch()));
  router_id_ = hello.router_id();
  v1::SessionResponse welcome;
  welcome.mutable_welcome()->set_group_id(hello.group_id());
  welcome.mutable_welcome()->set_epoch(hello.epoch());
  Push(std::move(welcome));
  if (!loop->Post({Command::Kind::kAttach, self_})) return absl::UnavailableError("the group's epoch is over");
  loop_ = std::move(loop);
  LogInfo("session.open", {{"router", router_id_}, {"group", hello.group_id()}, {"epoch", hello.epoch()}});
  return absl::OkStatus();
}

void SessionStream::Detach() {
  if (loop_ != nullptr) loop_->Post({Command::Kind::kDetach, self_});
}

void SessionStream::Push(v1::SessionResponse update) {
  absl::MutexLock lock(&mutex_);
  if (is_closing_) return;
  pending_.Add(std::move(update));
  const bool is_slow = is_writing_ && absl::Now() > write_start_ + kSlowest;
  if (is_slow || pending_.num_outputs() > kMaxPendingOutputs) {
    LogWarning("session.cut", {{"reason", "the router does not read"}, {"pending", pending_.num_outputs()}});
    is_closing_ = true;
    end_ = absl::ResourceExhaustedError("the router did not read in time");
    context_->TryCancel();  // the message under way would otherwise be waited for
    return;
  }
  WriteNext();
}

void SessionStream::Close(const absl::Status& status) {
  absl::MutexLock lock(&mutex_);
  if (!is_closing_) end_ = status;
  is_closing_ = true;
  WriteNext();
}

void SessionStream::WriteNext() {
  if (is_writing_ || is_finished_) return;
  if (!pending_.empty()) {
    outgoing_ = pending_.Take();
    is_writing_ = true;
    write_start_ = absl::Now();
    StartWrite(&outgoing_);
  } else if (is_closing_) {
    is_finished_ = true;
    Finish(ToGrpcStatus(end_));
  }
}

void SessionStream::OnWriteDone(bool ok) {
  absl::MutexLock lock(&mutex_);
  is_writing_ = false;
  if (!ok) {  // the stream is broken: nothing more can be sent
    pending_.Take();
    is_closing_ = true;
  }
  WriteNext();
}

void SessionStream::OnDone() {
  metrics_->sessions.Decrement();
  LogInfo("session.closed", {{"router", router_id_}});
  const std::shared_ptr<SessionStream> last = std::move(self_);
}

}  // namespace slmmesh
