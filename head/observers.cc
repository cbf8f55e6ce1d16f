#include "head/observers.h"

#include "absl/strings/str_cat.h"
#include "common/grpc_status.h"

namespace slmmesh {
namespace {

constexpr absl::Duration kLoadInterval = absl::Seconds(1);

// The table without what changes even while nothing happens.
std::string LoadsOf(v1::ClusterTable table) {
  for (v1::Member& member : *table.mutable_members()) member.clear_last_seen_unix_ms();
  return table.SerializeAsString();
}

}  // namespace

void ObserveStream::Send(std::shared_ptr<const v1::ClusterTable> table) {
  const std::lock_guard<std::mutex> lock(mutex_);
  waiting_ = std::move(table);
  WriteNext();
}

void ObserveStream::WriteNext() {
  if (is_ended_ || writing_ != nullptr || waiting_ == nullptr) return;
  writing_ = std::move(waiting_);
  StartWrite(writing_.get());
}

void ObserveStream::OnWriteDone(bool ok) {
  const std::lock_guard<std::mutex> lock(mutex_);
  writing_ = nullptr;
  if (ok) WriteNext();
}

void ObserveStream::End(const absl::Status& status) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (is_ended_) return;
  is_ended_ = true;
  Finish(ToGrpcStatus(status));
}

void ObserveStream::OnCancel() { End(absl::CancelledError("the observer is gone")); }

void ObserveStream::OnDone() {
  on_done_(this);
  delete this;
}

absl::Status Observers::Add(ObserveStream* stream) {
  if (streams_.size() >= kMaxObservers) {
    return absl::ResourceExhaustedError(absl::StrCat("this head serves at most ", kMaxObservers, " observers"));
  }
  streams_.insert(stream);
  has_new_ = true;
  return absl::OkStatus();
}

void Observers::Publish(const Membership& membership, absl::Time now) {
  // Until then the table lacks workers that only have to dial in again.
  if (streams_.empty() || !membership.settled()) return;
  const bool is_changed = version_ != membership.version() || routers_version_ != membership.routers_version();
  if (has_new_ || is_changed || now >= sent_at_ + kLoadInterval) SendToAll(membership, now);
}

void Observers::SendToAll(const Membership& membership, absl::Time now) {
  const auto table = std::make_shared<const v1::ClusterTable>(membership.Table());
  std::string loads = LoadsOf(*table);
  const bool is_news = has_new_ || loads != loads_;
  has_new_ = false;
  version_ = membership.version();
  routers_version_ = membership.routers_version();
  loads_ = std::move(loads);
  sent_at_ = now;
  if (!is_news) return;
  for (ObserveStream* stream : streams_) stream->Send(table);
}

}  // namespace slmmesh
