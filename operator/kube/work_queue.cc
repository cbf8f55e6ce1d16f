#include "operator/kube/work_queue.h"

#include <algorithm>
#include <deque>
#include <set>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"

namespace slmmesh::kube {
namespace {

constexpr int kMaxDoublings = 40;

// Sleeps with a queue that has nothing due before long; an Add ends the sleep.
constexpr absl::Duration kLongestSleep = absl::Hours(1);

class KeyQueue : public WorkQueue {
 public:
  explicit KeyQueue(Options options)
      : options_(options), clock_(options.clock != nullptr ? *options.clock : Clock::Real()) {}

  void Add(const std::string& key) override {
    const absl::MutexLock lock(&mutex_);
    AddNow(key, clock_.Now());
    changed_.Signal();
  }

  void AddAfter(const std::string& key, absl::Duration delay) override {
    const absl::MutexLock lock(&mutex_);
    AddLater(key, delay);
    changed_.Signal();
  }

  void AddRateLimited(const std::string& key) override {
    const absl::MutexLock lock(&mutex_);
    int& failures = failures_[key];
    const int doublings = std::min(failures++, kMaxDoublings);
    AddLater(key, std::min(options_.longest_retry, options_.shortest_retry * static_cast<double>(1LL << doublings)));
    changed_.Signal();
  }

  void Forget(const std::string& key) override {
    const absl::MutexLock lock(&mutex_);
    failures_.erase(key);
  }

  std::optional<std::string> Get() override {
    const absl::MutexLock lock(&mutex_);
    while (true) {
      if (shut_down_) {
        if (working_ == 0) return std::nullopt;
        changed_.Wait(&mutex_);
        continue;
      }
      const absl::Time now = clock_.Now();
      MoveDue(now);
      if (!ready_.empty()) return TakeFirst();
      const absl::Duration sleep = delayed_.empty() ? kLongestSleep : delayed_.begin()->first - now;
      changed_.WaitWithTimeout(&mutex_, std::min(sleep, kLongestSleep));
    }
  }

  void Done(const std::string& key) override {
    const absl::MutexLock lock(&mutex_);
    const auto found = entries_.find(key);
    if (found == entries_.end() || !found->second.working) return;
    found->second.working = false;
    --working_;
    if (found->second.wanted) {
      ready_.push_back(key);
    } else {
      entries_.erase(found);
    }
    if (shut_down_) {
      changed_.SignalAll();
    } else {
      changed_.Signal();
    }
  }

  void ShutDown() override {
    const absl::MutexLock lock(&mutex_);
    shut_down_ = true;
    changed_.SignalAll();
  }

  size_t size() const override {
    const absl::MutexLock lock(&mutex_);
    size_t due = 0;
    const absl::Time now = clock_.Now();
    for (auto it = delayed_.begin(); it != delayed_.end() && it->first <= now; ++it) ++due;
    return ready_.size() + due;
  }

  absl::Duration oldest_wait() const override {
    const absl::MutexLock lock(&mutex_);
    const absl::Time now = clock_.Now();
    absl::Time oldest = now;
    for (const std::string& key : ready_) oldest = std::min(oldest, entries_.at(key).since);
    if (!delayed_.empty()) oldest = std::min(oldest, delayed_.begin()->first);
    return now - oldest;
  }

 private:
  // A key that is ready, in work, or both (wanted once more).
  struct Entry {
    bool wanted = false;
    bool working = false;
    absl::Time since;  // when it became wanted
  };

  void AddNow(const std::string& key, absl::Time since) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (shut_down_) return;
    RemoveDelayed(key);  // the earliest counts
    Entry& entry = entries_[key];
    if (entry.wanted) return;
    entry.wanted = true;
    entry.since = since;
    if (!entry.working) ready_.push_back(key);  // else Done() does it
  }

  void AddLater(const std::string& key, absl::Duration delay) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const absl::Time now = clock_.Now();
    if (delay <= absl::ZeroDuration()) return AddNow(key, now);
    if (shut_down_ || delay == absl::InfiniteDuration()) return;
    if (const auto entry = entries_.find(key); entry != entries_.end() && entry->second.wanted) return;
    if (const auto found = due_.find(key); found != due_.end()) {
      if (found->second <= now + delay) return;
      RemoveDelayed(key);
    }
    due_[key] = now + delay;
    delayed_.emplace(now + delay, key);
  }

  void RemoveDelayed(const std::string& key) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const auto found = due_.find(key);
    if (found == due_.end()) return;
    delayed_.erase({found->second, key});
    due_.erase(found);
  }

  void MoveDue(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    while (!delayed_.empty() && delayed_.begin()->first <= now) {
      const auto [due, key] = *delayed_.begin();
      AddNow(key, due);   // also takes it out of delayed_
      changed_.Signal();  // several may be due at once, and others sleep
    }
  }

  std::string TakeFirst() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    std::string key = std::move(ready_.front());
    ready_.pop_front();
    Entry& entry = entries_[key];
    entry.wanted = false;
    entry.working = true;
    ++working_;
    return key;
  }

  const Options options_;
  const Clock& clock_;
  mutable absl::Mutex mutex_;
  absl::CondVar changed_;
  bool shut_down_ ABSL_GUARDED_BY(mutex_) = false;
  int working_ ABSL_GUARDED_BY(mutex_) = 0;
  std::deque<std::string> ready_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<std::string, Entry> entries_ ABSL_GUARDED_BY(mutex_);
  std::set<std::pair<absl::Time, std::string>> delayed_ ABSL_GUARDED_BY(mutex_);  // by due time
  absl::flat_hash_map<std::string, absl::Time> due_ ABSL_GUARDED_BY(mutex_);      // the same, by key
  absl::flat_hash_map<std::string, int> failures_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

std::unique_ptr<WorkQueue> WorkQueue::Create(Options options) { return std::make_unique<KeyQueue>(options); }

}  // namespace slmmesh::kube
