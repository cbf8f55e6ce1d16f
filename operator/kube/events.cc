#include "operator/kube/events.h"

#include <deque>
#include <map>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/random.h"
#include "nlohmann/json.hpp"
#include "operator/kube/rate_limiter.h"

namespace slmmesh::kube {
namespace {

constexpr size_t kMaxQueued = 512;
constexpr size_t kMaxRemembered = 2048;  // series and objects, each
constexpr absl::Duration kSeriesTime = absl::Minutes(10);
constexpr absl::Duration kFarewell = absl::Seconds(1);
constexpr double kBurstPerObject = 25;  // as client-go: then one in five minutes
constexpr double kPerSecondPerObject = 1.0 / 300;
constexpr size_t kMaxMessageBytes = 1024;  // the API's own limits
constexpr size_t kMaxReasonBytes = 128;
constexpr size_t kMaxNameBytes = 230;  // of 253, with the suffix

// Cut between characters.
std::string Cut(const std::string& text, size_t max_bytes) {
  if (text.size() <= max_bytes) return text;
  size_t end = max_bytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return text.substr(0, end);
}

std::string Rfc3339(absl::Time time) { return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", time, absl::UTCTimeZone()); }

std::string ApiVersion(const Resource& resource) {
  return resource.group.empty() ? resource.version : absl::StrCat(resource.group, "/", resource.version);
}

struct Pending {
  EventTarget target;
  EventType type;
  std::string reason;
  std::string message;
  absl::Time time;

  std::string SeriesKey() const {
    return absl::StrCat(target.uid, "|", target.ns, "/", target.name, "|", static_cast<int>(type), "|", reason, "|",
                        message);
  }
};

// An event object in the API server that equal ones are counted in.
struct Series {
  std::string name;
  int count = 0;
  absl::Time first;
};

class QueueingRecorder : public EventRecorder {
 public:
  QueueingRecorder(Client* client, std::string component) : client_(client), component_(std::move(component)) {
    thread_ = std::thread([this] { Run(); });
  }

  ~QueueingRecorder() override {
    {
      const absl::MutexLock lock(&mutex_);
      end_ = Clock::Real().Now() + kFarewell;
    }
    thread_.join();
  }

  void Record(const EventTarget& target, EventType type, const std::string& reason,
              const std::string& message) override {
    Pending pending{target, type, Cut(reason, kMaxReasonBytes), Cut(message, kMaxMessageBytes), Clock::Real().Now()};
    const absl::MutexLock lock(&mutex_);
    if (queue_.size() >= kMaxQueued) {
      ++dropped_;
      return;
    }
    queue_.push_back(std::move(pending));
  }

 private:
  void Run() {
    while (true) {
      Pending next;
      uint64_t dropped = 0;
      {
        const absl::MutexLock lock(&mutex_);
        const auto wake = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
          return !queue_.empty() || end_ != absl::InfiniteFuture();
        };
        mutex_.Await(absl::Condition(&wake));
        if (queue_.empty() || Clock::Real().Now() > end_) return;
        next = std::move(queue_.front());
        queue_.pop_front();
        std::swap(dropped, dropped_);
      }
      if (dropped > 0) LogWarning("kube.events_dropped", {{"count", dropped}});
      if (absl::Status written = Write(next); !written.ok()) {
        LogWarning("kube.event", {{"event", next.reason}, {"reason", written}});
      }
    }
  }

  absl::Status Write(const Pending& event) {
    const std::string key = event.SeriesKey();
    if (const auto found = series_.find(key);
        found != series_.end() && event.time < found->second.first + kSeriesTime) {
      const absl::Status counted = Count(event, found->second);
      if (!absl::IsNotFound(counted)) return counted;
    }
    return CreateNew(event, key);
  }

  absl::Status Count(const Pending& event, Series& series) {
    if (!Allowed(event)) return absl::OkStatus();
    ++series.count;
    return client_
        ->MergePatch({resources::kEvents, NamespaceOf(event), series.name, ""},
                     {{"count", series.count}, {"lastTimestamp", Rfc3339(event.time)}})
        .status();
  }

  absl::Status CreateNew(const Pending& event, const std::string& key) {
    if (!Allowed(event)) return absl::OkStatus();
    const Series series{absl::StrCat(Cut(event.target.name, kMaxNameBytes), ".", RandomHexId(8)), 1, event.time};
    const std::string time = Rfc3339(event.time);
    nlohmann::json involved = {{"apiVersion", ApiVersion(event.target.resource)},
                               {"kind", event.target.resource.kind},
                               {"name", event.target.name},
                               {"uid", event.target.uid}};
    if (!event.target.ns.empty()) involved["namespace"] = event.target.ns;
    const nlohmann::json object = {{"apiVersion", "v1"},
                                   {"kind", "Event"},
                                   {"metadata", {{"name", series.name}, {"namespace", NamespaceOf(event)}}},
                                   {"involvedObject", std::move(involved)},
                                   {"type", event.type == EventType::kWarning ? "Warning" : "Normal"},
                                   {"reason", event.reason},
                                   {"message", event.message},
                                   {"source", {{"component", component_}}},
                                   {"reportingComponent", component_},
                                   {"reportingInstance", ""},
                                   {"count", 1},
                                   {"firstTimestamp", time},
                                   {"lastTimestamp", time}};
    const absl::Status created =
        client_->Create({resources::kEvents, NamespaceOf(event), series.name, ""}, object).status();
    if (!created.ok()) return created;
    if (series_.size() >= kMaxRemembered) series_.clear();  // costs no more than a count that starts anew
    series_[key] = series;
    return absl::OkStatus();
  }

  // Events of what has no namespace live in the default one.
  static std::string NamespaceOf(const Pending& event) { return event.target.ns.empty() ? "default" : event.target.ns; }

  bool Allowed(const Pending& event) {
    if (limiters_.size() >= kMaxRemembered) limiters_.clear();
    const std::string object = absl::StrCat(event.target.uid, "|", event.target.ns, "/", event.target.name);
    return limiters_.try_emplace(object, kPerSecondPerObject, kBurstPerObject).first->second.TryTake(event.time);
  }

  Client* const client_;
  const std::string component_;
  // Of the thread alone.
  std::map<std::string, Series> series_;
  std::map<std::string, RateLimiter> limiters_;

  absl::Mutex mutex_;
  std::deque<Pending> queue_ ABSL_GUARDED_BY(mutex_);
  uint64_t dropped_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Time end_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteFuture();
  std::thread thread_;
};

}  // namespace

std::unique_ptr<EventRecorder> EventRecorder::Start(Client* client, const std::string& component) {
  return std::make_unique<QueueingRecorder>(client, component);
}

}  // namespace slmmesh::kube
