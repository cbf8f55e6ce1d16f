#include "operator/table_watcher.h"

#include <google/protobuf/util/message_differencer.h>
#include <grpcpp/alarm.h>
#include <grpcpp/channel.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>
#include <grpcpp/support/client_callback.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/grpc_status.h"
#include "common/log.h"
#include "common/status.h"
#include "slmmesh/v1/head.grpc.pb.h"

namespace slmmesh {
namespace {

constexpr int kMaxMessageBytes = 64 << 20;
constexpr int kKeepaliveMs = 20000;  // a head whose node is gone is noticed within half a minute
constexpr int kKeepaliveTimeoutMs = 5000;
constexpr absl::Duration kCallTimeout = absl::Seconds(3);

std::shared_ptr<grpc::Channel> MakeHeadChannel(const HeadTarget& target, const ClientPems& pems) {
  grpc::ChannelArguments arguments;
  arguments.SetSslTargetNameOverride(TlsHostName(Role::kHead, target.identity));
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = pems.ca;
  options.pem_cert_chain = pems.cert;
  options.pem_private_key = pems.key;
  return grpc::CreateCustomChannel(target.address, grpc::SslCredentials(options), arguments);
}

v1::ClusterTable WithoutLoads(const v1::ClusterTable& table) {
  v1::ClusterTable bare = table;
  bare.clear_version();
  for (v1::Group& group : *bare.mutable_groups()) group.clear_load();
  for (v1::Member& member : *bare.mutable_members()) {
    member.mutable_status()->clear_load();
    member.mutable_status()->clear_load_fraction();
    member.clear_last_seen_unix_ms();
  }
  for (v1::RouterReport& router : *bare.mutable_routers()) {
    router.clear_active_requests();
    // Where no group is, a request that waits is news: a group has to come for it.
    router.set_queued_requests(bare.groups().empty() && router.queued_requests() > 0 ? 1 : 0);
  }
  return bare;
}

struct DrainCall {
  grpc::ClientContext context;
  v1::SetDrainingRequest request;
  v1::SetDrainingResponse response;
};

// gRPC 1.51 ends its callback threads with the last channel that uses them. A thread of these that drops this channel
// itself, in an OnDone, cannot wait for its own end and goes on with freed memory. So one channel that has used them
// stays for the life of the process; it never connects, since its only call is too late from the start.
void KeepCallbackThreads() {
  [[gnu::used]] static const auto* const kept = [] {  // else g++ drops the pointer, and a leak is seen
    auto* channel =
        new std::shared_ptr<grpc::Channel>(grpc::CreateChannel("ipv4:127.0.0.1:1", grpc::SslCredentials({})));
    auto call = std::make_shared<DrainCall>();
    call->context.set_deadline(absl::ToChronoTime(absl::UnixEpoch()));
    v1::Head::NewStub(*channel)->async()->SetDraining(&call->context, &call->request, &call->response,
                                                      [call](const grpc::Status&) {});
    return channel;
  }();
}

}  // namespace

bool SameButLoads(const v1::ClusterTable& a, const v1::ClusterTable& b) {
  return google::protobuf::util::MessageDifferencer::Equals(WithoutLoads(a), WithoutLoads(b));
}

// One cluster's: a call, the pause after it ended, the next call. Each call keeps the stream alive until it is done.
class TableWatcher::Stream : public std::enable_shared_from_this<TableWatcher::Stream> {
 public:
  Stream(std::string key, HeadTarget target, CredentialSource credentials, const Options& options)
      : key_(std::move(key)),
        target_(std::move(target)),
        credentials_(std::move(credentials)),
        options_(options),
        retry_(options.shortest_retry) {}

  const HeadTarget& target() const { return target_; }

  void Open();
  // After this, on_change is not called any more.
  void Stop();
  std::shared_ptr<const v1::ClusterTable> table() const {
    const absl::MutexLock lock(&mutex_);
    return table_;
  }
  absl::Status SetDraining(std::vector<std::string> worker_ids);

 private:
  struct Call : grpc::ClientReadReactor<v1::ClusterTable> {
    explicit Call(std::shared_ptr<Stream> stream_in) : stream(std::move(stream_in)) {}
    void OnReadDone(bool ok) override;
    void OnDone(const grpc::Status& status) override;

    const std::shared_ptr<Stream> stream;
    grpc::ClientContext context;
    v1::ObserveRequest request;
    v1::ClusterTable incoming;
  };

  void Take(v1::ClusterTable table);
  void Ended(const absl::Status& status);
  void RetryLater() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SayDrainingAgain() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void NotifyLater() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Notify() const;

  const std::string key_;
  const HeadTarget target_;
  const CredentialSource credentials_;
  const Options options_;

  mutable absl::Mutex notifying_;  // held during on_change
  mutable absl::Mutex mutex_;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  Call* call_ ABSL_GUARDED_BY(mutex_) = nullptr;
  std::shared_ptr<grpc::Channel> channel_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<const v1::ClusterTable> table_ ABSL_GUARDED_BY(mutex_);
  absl::Time notified_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  bool notifies_later_ ABSL_GUARDED_BY(mutex_) = false;
  std::unique_ptr<grpc::Alarm> notify_alarm_ ABSL_GUARDED_BY(mutex_);
  absl::Duration retry_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<grpc::Alarm> alarm_ ABSL_GUARDED_BY(mutex_);  // a new one each time: it may be set in its own call
  std::optional<std::vector<std::string>> draining_ ABSL_GUARDED_BY(mutex_);  // nullopt: nothing to say
  std::string draining_known_to_ ABSL_GUARDED_BY(mutex_);                     // the head_id that has it
};

void TableWatcher::Stream::Call::OnReadDone(bool ok) {
  if (!ok) return;  // OnDone follows
  stream->Take(std::move(incoming));
  incoming.Clear();
  StartRead(&incoming);
}

void TableWatcher::Stream::Call::OnDone(const grpc::Status& status) {
  const std::shared_ptr<Stream> kept = stream;
  kept->Ended(FromGrpcStatus(status));
  delete this;
}

void TableWatcher::Stream::Notify() const {
  const absl::MutexLock notifying(&notifying_);
  {
    const absl::MutexLock lock(&mutex_);
    if (stopped_) return;
  }
  options_.on_change(key_);
}

void TableWatcher::Stream::Open() {
  absl::StatusOr<ClientPems> pems = credentials_();
  auto* call = new Call(shared_from_this());  // deletes itself when done
  {
    const absl::MutexLock lock(&mutex_);
    if (stopped_ || !pems.ok()) {
      delete call;
      if (stopped_) return;
      LogWarning("table.no_certificate", {{"cluster", key_}, {"reason", pems.status()}});
      return RetryLater();
    }
    channel_ = MakeHeadChannel(target_, *pems);  // anew each time: with a certificate that lasts
    call_ = call;
    v1::Head::NewStub(channel_)->async()->Observe(&call->context, &call->request, call);
  }
  call->StartRead(&call->incoming);
  call->StartCall();
}

void TableWatcher::Stream::Stop() {
  {
    const absl::MutexLock lock(&mutex_);
    stopped_ = true;
    if (call_ != nullptr) call_->context.TryCancel();
    if (alarm_ != nullptr) alarm_->Cancel();
    if (notify_alarm_ != nullptr) notify_alarm_->Cancel();
  }
  const absl::MutexLock notified(&notifying_);
}

void TableWatcher::Stream::Take(v1::ClusterTable table) {
  bool notify;
  {
    const absl::MutexLock lock(&mutex_);
    if (stopped_) return;
    retry_ = options_.shortest_retry;
    const absl::Time now = absl::Now();
    notify = table_ == nullptr || now >= notified_ + options_.load_interval || !SameButLoads(*table_, table);
    if (notify) {
      notified_ = now;
    } else {
      NotifyLater();
    }
    table_ = std::make_shared<const v1::ClusterTable>(std::move(table));
    SayDrainingAgain();
  }
  if (notify) Notify();
}

// The last of several loads must be heard of: perhaps none comes after it.
void TableWatcher::Stream::NotifyLater() {
  if (notifies_later_) return;
  notifies_later_ = true;
  notify_alarm_ = std::make_unique<grpc::Alarm>();
  notify_alarm_->Set(absl::ToChronoTime(notified_ + options_.load_interval), [weak = weak_from_this()](bool) {
    const std::shared_ptr<Stream> stream = weak.lock();
    if (stream == nullptr) return;
    {
      const absl::MutexLock lock(&stream->mutex_);
      stream->notifies_later_ = false;
      stream->notified_ = absl::Now();
    }
    stream->Notify();
  });
}

void TableWatcher::Stream::Ended(const absl::Status& status) {
  bool had_table;
  {
    const absl::MutexLock lock(&mutex_);
    call_ = nullptr;
    had_table = table_ != nullptr;
    table_ = nullptr;
    if (stopped_) return;
    RetryLater();
  }
  if (had_table) LogInfo("table.lost", {{"cluster", key_}, {"reason", status}});
  if (had_table) Notify();
}

void TableWatcher::Stream::RetryLater() {
  const absl::Duration wait = retry_;
  retry_ = std::min(2 * retry_, options_.longest_retry);
  alarm_ = std::make_unique<grpc::Alarm>();
  alarm_->Set(absl::ToChronoTime(absl::Now() + wait), [weak = weak_from_this()](bool fired) {
    const std::shared_ptr<Stream> stream = weak.lock();
    if (fired && stream != nullptr) stream->Open();
  });
}

absl::Status TableWatcher::Stream::SetDraining(std::vector<std::string> worker_ids) {
  std::shared_ptr<grpc::Channel> channel;
  std::string head_id;
  DrainCall call;
  {
    const absl::MutexLock lock(&mutex_);
    if (!draining_.has_value() || *draining_ != worker_ids) {
      draining_ = std::move(worker_ids);
      draining_known_to_.clear();
    }
    if (table_ == nullptr) return absl::UnavailableError("the head cannot be reached to drain workers");
    head_id = table_->head_id();
    if (draining_known_to_ == head_id) return absl::OkStatus();
    channel = channel_;
    call.request.mutable_worker_ids()->Assign(draining_->begin(), draining_->end());
  }
  call.context.set_deadline(absl::ToChronoTime(absl::Now() + kCallTimeout));
  const grpc::Status status = v1::Head::NewStub(channel)->SetDraining(&call.context, call.request, &call.response);
  if (!status.ok()) {
    return absl::UnavailableError(
        absl::StrCat("the head did not take the list of workers to drain: ", FromGrpcStatus(status).ToString()));
  }
  const absl::MutexLock lock(&mutex_);
  draining_known_to_ = head_id;
  return absl::OkStatus();
}

// To a head that restarted. A failure is tried again with the next table, at most a second later.
void TableWatcher::Stream::SayDrainingAgain() {
  const bool said_before = draining_.has_value() && !draining_known_to_.empty();
  if (!said_before || draining_known_to_ == table_->head_id()) return;
  const std::string known_before = std::exchange(draining_known_to_, table_->head_id());
  auto call = std::make_shared<DrainCall>();
  call->context.set_deadline(absl::ToChronoTime(absl::Now() + kCallTimeout));
  call->request.mutable_worker_ids()->Assign(draining_->begin(), draining_->end());
  v1::Head::NewStub(channel_)->async()->SetDraining(
      &call->context, &call->request, &call->response,
      [call, known_before, stream = shared_from_this()](const grpc::Status& status) {
        if (status.ok()) return;
        LogWarning("table.drain_failed", {{"cluster", stream->key_}, {"reason", FromGrpcStatus(status)}});
        const absl::MutexLock lock(&stream->mutex_);
        stream->draining_known_to_ = known_before;
      });
}

TableWatcher::TableWatcher(Options options) : options_(std::move(options)) { KeepCallbackThreads(); }

// Streams are stopped without our lock: each waits for its on_change.
TableWatcher::~TableWatcher() {
  std::map<std::string, std::shared_ptr<Stream>> streams;
  {
    const absl::MutexLock lock(&mutex_);
    streams.swap(streams_);
  }
  for (const auto& [key, stream] : streams) stream->Stop();
}

void TableWatcher::Follow(const std::string& key, const HeadTarget& target, const CredentialSource& credentials) {
  std::shared_ptr<Stream> stream, previous;
  {
    const absl::MutexLock lock(&mutex_);
    std::shared_ptr<Stream>& place = streams_[key];
    if (place != nullptr && place->target().pod_uid == target.pod_uid && place->target().address == target.address) {
      return;
    }
    previous = std::move(place);
    place = stream = std::make_shared<Stream>(key, target, credentials, options_);
  }
  if (previous != nullptr) previous->Stop();
  stream->Open();
}

void TableWatcher::Forget(const std::string& key) {
  std::shared_ptr<Stream> stream;
  {
    const absl::MutexLock lock(&mutex_);
    const auto found = streams_.find(key);
    if (found == streams_.end()) return;
    stream = std::move(found->second);
    streams_.erase(found);
  }
  stream->Stop();
}

std::shared_ptr<TableWatcher::Stream> TableWatcher::Find(const std::string& key) const {
  const absl::MutexLock lock(&mutex_);
  const auto found = streams_.find(key);
  return found == streams_.end() ? nullptr : found->second;
}

std::shared_ptr<const v1::ClusterTable> TableWatcher::Table(const std::string& key) const {
  const std::shared_ptr<Stream> stream = Find(key);
  return stream == nullptr ? nullptr : stream->table();
}

absl::Status TableWatcher::SetDraining(const std::string& key, const std::vector<std::string>& worker_ids) {
  const std::shared_ptr<Stream> stream = Find(key);
  if (stream == nullptr) return absl::UnavailableError("the head cannot be reached to drain workers");
  return stream->SetDraining(worker_ids);
}

size_t TableWatcher::streams() const {
  const absl::MutexLock lock(&mutex_);
  return streams_.size();
}

}  // namespace slmmesh
