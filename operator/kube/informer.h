// A cache of one resource that follows the API server: list, then watch with bookmarks, again from the last
// resourceVersion when the watch ends, from a new list after 410 Gone, with backoff when the server is away.
// It keeps not the objects but what `Projection` makes of them.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

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
  void Start();
  bool WaitForSync(absl::Duration timeout) const;
  std::shared_ptr<const T> Get(const Key& key) const;
  std::map<Key, std::shared_ptr<const T>> All() const;
  size_t size() const;

 private:
  Client* client_;
  Reflector::Options options_;
  Projection project_;
  OnChange on_change_;
  mutable absl::Mutex mutex_;
  std::map<Key, std::shared_ptr<const T>> objects_ ABSL_GUARDED_BY(mutex_);
  std::map<Key, bool> seen_in_list_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<Reflector> reflector_;
};

std::string KeyOf(const nlohmann::json& object);  // namespace/name, or name

}  // namespace slmmesh::kube
