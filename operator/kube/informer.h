// A cache of one resource that follows the API server: list, then watch with bookmarks, again from the last
// resourceVersion when the watch ends, from a new list after 410 Gone, with backoff when the server is away.
// It keeps not the objects but what `Projection` makes of them.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "nlohmann/json_fwd.hpp"
#include "operator/kube/client.h"

namespace slmmesh::kube {

// The untyped half: one thread that lists and watches, and tells what it saw. Start() runs until Stop() or destruction.
class Reflector {
 public:
  struct Sink {
    std::function<void()> begin_list;  // what is not seen until end_list is gone
    std::function<void(const nlohmann::json& object)> upsert;
    std::function<void(const nlohmann::json& object)> remove;  // metadata at least
    std::function<void()> end_list;                            // the cache is whole now
  };
  struct Options {
    Resource resource;
    ListOptions list;
    absl::Duration shortest_backoff = absl::Milliseconds(100);
    absl::Duration longest_backoff = absl::Seconds(10);
  };
  static std::unique_ptr<Reflector> Start(Client* client, Options options, Sink sink);
  virtual ~Reflector() = default;
  virtual bool synced() const = 0;  // listed at least once
  virtual absl::Time last_contact() const = 0;
  virtual uint64_t relists() const = 0;
  // Begins to stop; returns at once. Several are stopped together by asking all of them before destroying the first.
  virtual void RequestStop() = 0;
};

// T: what is kept of an object, as small as planning allows. Thread-safe; values are immutable and shared.
template <typename T>
class Informer {
 public:
  using Key = std::string;  // namespace/name
  using Projection = std::function<std::shared_ptr<const T>(const nlohmann::json& object)>;
  // Called after the cache has changed, on the informer's thread; null `before`: new, null `after`: gone.
  using OnChange =
      std::function<void(const Key&, const std::shared_ptr<const T>& before, const std::shared_ptr<const T>& after)>;

  Informer(Client* client, Reflector::Options options, Projection project, OnChange on_change);
  void Start();        // once
  void RequestStop();  // as Reflector's
  bool WaitForSync(absl::Duration timeout) const;
  std::shared_ptr<const T> Get(const Key& key) const;
  std::map<Key, std::shared_ptr<const T>> All() const;
  size_t size() const;

 private:
  void Change(const Key& key, std::shared_ptr<const T> after);
  void Upsert(const nlohmann::json& object);
  void EndList();

  Client* client_;
  Reflector::Options options_;
  Projection project_;
  OnChange on_change_;
  mutable absl::Mutex mutex_;
  std::map<Key, std::shared_ptr<const T>> objects_ ABSL_GUARDED_BY(mutex_);
  bool synced_ ABSL_GUARDED_BY(mutex_) = false;
  bool listing_ = false;                  // of the reflector's thread, as the next
  std::set<Key> seen_in_list_;            // while listing
  std::unique_ptr<Reflector> reflector_;  // last: its thread ends before the rest goes
};

std::string KeyOf(const nlohmann::json& object);  // namespace/name, or name

template <typename T>
Informer<T>::Informer(Client* client, Reflector::Options options, Projection project, OnChange on_change)
    : client_(client), options_(std::move(options)), project_(std::move(project)), on_change_(std::move(on_change)) {}

template <typename T>
void Informer<T>::Start() {
  Reflector::Sink sink;
  sink.begin_list = [this] {
    listing_ = true;
    seen_in_list_.clear();
  };
  sink.upsert = [this](const nlohmann::json& object) { Upsert(object); };
  sink.remove = [this](const nlohmann::json& object) { Change(KeyOf(object), nullptr); };
  sink.end_list = [this] { EndList(); };
  reflector_ = Reflector::Start(client_, options_, std::move(sink));
}

template <typename T>
void Informer<T>::RequestStop() {
  if (reflector_ != nullptr) reflector_->RequestStop();
}

// What the projection makes nothing of is not kept.
template <typename T>
void Informer<T>::Upsert(const nlohmann::json& object) {
  const Key key = KeyOf(object);
  if (listing_) seen_in_list_.insert(key);
  Change(key, project_(object));
}

template <typename T>
void Informer<T>::EndList() {
  std::vector<Key> gone;
  {
    const absl::MutexLock lock(&mutex_);
    for (const auto& [key, value] : objects_) {
      if (!seen_in_list_.contains(key)) gone.push_back(key);
    }
  }
  listing_ = false;
  seen_in_list_.clear();
  for (const Key& key : gone) Change(key, nullptr);
  const absl::MutexLock lock(&mutex_);
  synced_ = true;
}

template <typename T>
void Informer<T>::Change(const Key& key, std::shared_ptr<const T> after) {
  std::shared_ptr<const T> before;
  {
    const absl::MutexLock lock(&mutex_);
    if (const auto found = objects_.find(key); found != objects_.end()) before = found->second;
    if (after != nullptr) {
      objects_[key] = after;
    } else {
      objects_.erase(key);
    }
  }
  if (on_change_ && (before != nullptr || after != nullptr)) on_change_(key, before, after);
}

template <typename T>
bool Informer<T>::WaitForSync(absl::Duration timeout) const {
  const absl::MutexLock lock(&mutex_);
  return mutex_.AwaitWithTimeout(absl::Condition(&synced_), timeout);
}

template <typename T>
std::shared_ptr<const T> Informer<T>::Get(const Key& key) const {
  const absl::MutexLock lock(&mutex_);
  const auto found = objects_.find(key);
  return found == objects_.end() ? nullptr : found->second;
}

template <typename T>
std::map<typename Informer<T>::Key, std::shared_ptr<const T>> Informer<T>::All() const {
  const absl::MutexLock lock(&mutex_);
  return objects_;
}

template <typename T>
size_t Informer<T>::size() const {
  const absl::MutexLock lock(&mutex_);
  return objects_.size();
}

}  // namespace slmmesh::kube
