#include <algorithm>
#include <atomic>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/random.h"
#include "nlohmann/json.hpp"
#include "operator/kube/api_error.h"
#include "operator/kube/informer.h"

namespace slmmesh::kube {
namespace {

constexpr absl::Duration kShortWatch = absl::Seconds(1);  // a watch that ends sooner, with nothing seen, was no success

// Doubles with each failure; a random half of it, so that many reflectors do not come at once.
class Backoff {
 public:
  Backoff(absl::Duration shortest, absl::Duration longest) : shortest_(shortest), longest_(longest), next_(shortest) {}
  void Reset() { next_ = shortest_; }
  absl::Duration Next() {
    const absl::Duration whole = next_;
    next_ = std::min(longest_, next_ * 2);
    const double random = static_cast<double>(RandomUint64() % 1024) / 1024;
    return whole * (0.5 + random / 2);
  }

 private:
  const absl::Duration shortest_;
  const absl::Duration longest_;
  absl::Duration next_;
};

constexpr absl::Duration kLogPeriod = absl::Minutes(1);

enum class After { kWatchAgain, kListAgain, kStop };

class ReflectorThread : public Reflector {
 public:
  ReflectorThread(Client* client, Options options, Sink sink)
      : client_(client),
        options_(std::move(options)),
        sink_(std::move(sink)),
        backoff_(options_.shortest_backoff, options_.longest_backoff) {
    options_.list.cancelled = [this] { return stopped_.load(); };
    options_.list.started_over = [this] { sink_.begin_list(); };
    thread_ = std::thread([this] { Run(); });
  }

  ~ReflectorThread() override {
    RequestStop();
    thread_.join();
  }

  void RequestStop() override {
    const absl::MutexLock lock(&mutex_);  // wakes a wait
    stopped_.store(true);
  }

  bool synced() const override { return synced_.load(); }
  absl::Time last_contact() const override { return absl::FromUnixMicros(last_contact_us_.load()); }
  uint64_t relists() const override { return relists_.load(); }

 private:
  void Run() {
    while (!stopped_.load()) {
      if (!ListAll()) continue;
      while (WatchOnce() == After::kWatchAgain) {
      }
    }
  }

  bool ListAll() {
    if (lists_++ > 0) relists_.fetch_add(1);
    sink_.begin_list();
    absl::StatusOr<std::string> version = client_->List(options_.resource, options_.list, sink_.upsert);
    if (!version.ok()) {
      WaitAfter("list", version.status());
      return false;
    }
    version_ = *std::move(version);
    NoteContact();
    sink_.end_list();
    synced_.store(true);
    return true;
  }

  After WatchOnce() {
    const absl::Time begin = Clock::Real().Now();
    bool heard = false;
    const absl::Status status = client_->Watch(
        options_.resource, options_.list, version_,
        [&](WatchEventType type, const nlohmann::json& object) {
          heard = true;
          Take(type, object);
        },
        [this] { return stopped_.load(); });
    if (stopped_.load()) return After::kStop;
    const bool lasted = heard || (status.ok() && Clock::Real().Now() - begin >= kShortWatch);
    if (lasted) backoff_.Reset();
    if (lasted && status.ok()) {
      NoteContact();
      return After::kWatchAgain;
    }
    WaitAfter("watch", status);
    // After a broken connection the watch goes on where it was; anything else (410 Gone above all) asks for a new list.
    const bool resumes = status.ok() || absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) ||
                         absl::IsResourceExhausted(status);
    return resumes ? After::kWatchAgain : After::kListAgain;
  }

  void Take(WatchEventType type, const nlohmann::json& object) {
    NoteContact();
    if (std::string version = MetadataTextAt(object, "resourceVersion"); !version.empty()) {
      version_ = std::move(version);
    }
    if (type == WatchEventType::kDeleted) {
      sink_.remove(object);
    } else if (type != WatchEventType::kBookmark) {
      sink_.upsert(object);
    }
  }

  void WaitAfter(const char* what, const absl::Status& status) {
    if (stopped_.load()) return;
    if (!status.ok() && !absl::IsOutOfRange(status)) LogSometimes(what, status);
    const absl::MutexLock lock(&mutex_);
    const auto stopped = [this] { return stopped_.load(); };
    mutex_.AwaitWithTimeout(absl::Condition(&stopped), backoff_.Next());
  }

  // A server that is away for an hour is not worth a line every few seconds.
  void LogSometimes(const char* what, const absl::Status& status) {
    const absl::Time now = Clock::Real().Now();
    if (status == logged_ && now < logged_at_ + kLogPeriod) return;
    logged_ = status;
    logged_at_ = now;
    LogWarning("kube.reflector", {{"resource", options_.resource.plural}, {"during", what}, {"reason", status}});
  }

  void NoteContact() { last_contact_us_.store(absl::ToUnixMicros(Clock::Real().Now())); }

  Client* const client_;
  Options options_;
  const Sink sink_;
  // Of the thread alone.
  Backoff backoff_;
  std::string version_;
  uint64_t lists_ = 0;
  absl::Status logged_;
  absl::Time logged_at_ = absl::InfinitePast();

  absl::Mutex mutex_;  // only for waits
  std::atomic<bool> stopped_{false};
  std::atomic<bool> synced_{false};
  std::atomic<int64_t> last_contact_us_{0};
  std::atomic<uint64_t> relists_{0};
  std::thread thread_;
};

}  // namespace

std::unique_ptr<Reflector> Reflector::Start(Client* client, Options options, Sink sink) {
  return std::make_unique<ReflectorThread>(client, std::move(options), std::move(sink));
}

std::string KeyOf(const nlohmann::json& object) {
  const std::string ns = MetadataTextAt(object, "namespace");
  const std::string name = MetadataTextAt(object, "name");
  return ns.empty() ? name : absl::StrCat(ns, "/", name);
}

}  // namespace slmmesh::kube
