#include "worker/server/engine_loop.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/log.h"
#include "common/status.h"

namespace slmmesh {
namespace {

v1::TokenOutput ErrorOutput(uint64_t handle, const absl::Status& status) {
  v1::TokenOutput output;
  output.set_handle(handle);
  output.set_finish_reason(v1::FINISH_REASON_ERROR);
  output.set_error_code(static_cast<uint32_t>(status.raw_code()));
  output.set_error_message(std::string(status.message()));
  return output;
}

bool SameCounts(const v1::LoadReport& a, const v1::LoadReport& b) {
  return a.running() == b.running() && a.waiting() == b.waiting() && a.kv_blocks_used() == b.kv_blocks_used();
}

}  // namespace

absl::Status EngineLoop::Run() {
  metrics_->StartEngine();
  const absl::Status end = RunUntilEnd();
  mailbox_.Close(end.ok() ? absl::UnavailableError("the worker leaves its group") : end);
  const std::string why = end.ok() ? "the worker leaves" : std::string(end.message());
  FailAll(absl::UnavailableError(absl::StrCat("the group's epoch ended: ", why)));
  return end;
}

absl::Status EngineLoop::RunUntilEnd() {
  while (true) {
    for (Command& command : mailbox_.Take(NextWake())) Apply(std::move(command));
    RETURN_IF_ERROR(mailbox_.closed());
    std::vector<EngineOutput> outputs;
    bool worked = false;
    const absl::Status step = engine_->Step(&outputs, &worked);
    Deliver(std::move(outputs));
    RETURN_IF_ERROR(step);
    const absl::Time now = absl::Now();
    if (worked) {
      metrics_->ShowStep(engine_->last_step());
      last_alive_ = now;
    } else if (now >= last_alive_ + options_.idle_interval) {
      RETURN_IF_ERROR(options_.keep_alive());
      last_alive_ = now;
    }
    PushUpdates();
    if (IsDrained(now)) return absl::OkStatus();
  }
}

absl::Time EngineLoop::NextWake() const {
  if (engine_->HasWork()) return absl::InfinitePast();
  return std::min(last_alive_ + options_.idle_interval, draining_since_ + options_.drain_linger);
}

bool EngineLoop::IsDrained(absl::Time now) const {
  if (draining_since_ == absl::InfiniteFuture() || engine_->HasWork()) return false;
  return sessions_.empty() || now >= draining_since_ + options_.drain_linger;
}

void EngineLoop::Apply(Command command) {
  if (command.kind == Command::Kind::kDrain) {
    draining_since_ = std::min(draining_since_, absl::Now());
    return;
  }
  if (command.kind == Command::Kind::kAttach) return Attach(std::move(command.stream));
  if (command.kind == Command::Kind::kDetach) return Detach(command.stream.get());
  const auto session = sessions_.find(command.stream.get());
  if (session == sessions_.end()) return;  // closed meanwhile
  if (command.kind == Command::Kind::kSubmit) {
    Submit(session->second, std::move(command.submit));
  } else {
    Cancel(session->second, command.handle);
  }
}

void EngineLoop::Attach(std::shared_ptr<RouterStream> stream) {
  PushUpdates();  // the others get the changes so far; the new one starts from the whole set
  RouterStream* const key = stream.get();
  Session& session = sessions_[key];
  session.stream = std::move(stream);
  session.last_load = engine_->Load();
  session.last_push = absl::Now();
  v1::SessionResponse first;
  *first.mutable_load() = session.last_load;
  first.mutable_block_events()->set_reset(true);
  for (const BlockHash hash : engine_->AllBlockHashes()) first.mutable_block_events()->add_stored(hash);
  session.stream->Push(std::move(first));
}

void EngineLoop::Submit(Session& session, v1::Submit submit) {
  const uint64_t handle = submit.handle();
  if (session.ids.contains(handle)) {
    const auto status =
        absl::InvalidArgumentError(absl::StrCat("submit.handle ", handle, " is in use: choose another"));
    session.stream->Close(status);  // whose output is whose could not be told any more
    return Detach(session.stream.get());
  }
  const uint64_t id = ++last_id_;
  LogInfo("request.submit", {{"request_id", submit.request_id()}, {"prompt_tokens", submit.prompt_tokens_size()}});
  const absl::Status status = engine_->Submit({id, std::move(submit)});
  if (!status.ok()) {
    *session.update.add_outputs() = ErrorOutput(handle, status);
    return;
  }
  session.ids[handle] = id;
  requests_[id] = {session.stream.get(), handle};
}

void EngineLoop::Cancel(Session& session, uint64_t handle) {
  const auto found = session.ids.find(handle);
  if (found == session.ids.end()) return;  // it has just finished
  engine_->Cancel(found->second);
  requests_.erase(found->second);
  session.ids.erase(found);
  v1::TokenOutput* output = session.update.add_outputs();
  output->set_handle(handle);
  output->set_finish_reason(v1::FINISH_REASON_CANCELLED);
}

void EngineLoop::Detach(RouterStream* stream) {
  const auto found = sessions_.find(stream);
  if (found == sessions_.end()) return;
  for (const auto& [handle, id] : found->second.ids) {
    engine_->Cancel(id);
    requests_.erase(id);
  }
  sessions_.erase(found);
}

void EngineLoop::Deliver(std::vector<EngineOutput> outputs) {
  for (EngineOutput& output : outputs) {
    const auto found = requests_.find(output.id);
    if (found == requests_.end()) continue;
    Request& request = found->second;
    Session& session = sessions_.at(request.stream);
    output.output.set_handle(request.handle);
    if (!request.is_started) metrics_->queue_seconds.Observe(output.output.queue_us() * 1e-6);
    request.is_started = true;
    if (output.output.finish_reason() != v1::FINISH_REASON_UNSPECIFIED) {
      session.ids.erase(request.handle);
      requests_.erase(found);
    }
    *session.update.add_outputs() = std::move(output.output);
  }
}

void EngineLoop::PushUpdates() {
  const v1::BlockEvents events = engine_->TakeBlockEvents();
  const v1::LoadReport load = engine_->Load();
  metrics_->ShowLoad(load);
  metrics_->AddStats(engine_->stats());
  options_.on_load(load);
  const absl::Time now = absl::Now();
  for (auto& [key, session] : sessions_) PushTo(session, events, load, now);
}

void EngineLoop::PushTo(Session& session, const v1::BlockEvents& events, const v1::LoadReport& load, absl::Time now) {
  if (events.stored_size() + events.evicted_size() != 0) *session.update.mutable_block_events() = events;
  const bool has_news = session.update.outputs_size() != 0 || session.update.has_block_events();
  if (!has_news && SameCounts(load, session.last_load) && now < session.last_push + options_.idle_interval / 2) return;
  *session.update.mutable_load() = load;
  session.last_load = load;
  session.last_push = now;
  session.stream->Push(std::exchange(session.update, {}));
}

void EngineLoop::FailAll(const absl::Status& reason) {
  std::vector<EngineOutput> outputs;
  engine_->AbortAll(reason, &outputs);
  Deliver(std::move(outputs));
  for (Command& command : mailbox_.Take(absl::InfinitePast())) {  // those that came too late
    if (command.kind == Command::Kind::kAttach) {
      command.stream->Close(reason);
    } else if (command.kind == Command::Kind::kSubmit) {
      const auto session = sessions_.find(command.stream.get());
      if (session == sessions_.end()) continue;
      *session->second.update.add_outputs() = ErrorOutput(command.submit.handle(), reason);
    }
  }
  PushUpdates();
  for (auto& [key, session] : sessions_) session.stream->Close(reason);
  sessions_.clear();
}

}  // namespace slmmesh
