// For tests: enough of Kubernetes behind FakeApiServer for informers, leases and events: objects with resourceVersions,
// pages, watches, conflicts, compaction. Any resource; no schema, no selectors.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "nlohmann/json.hpp"
#include "operator/kube/testing/fake_api_server.h"

namespace slmmesh::kube {

// Thread-safe. Outlives the server that it answers for.
class FakeStore {
 public:
  FakeApiServer::Handler handler() {
    return [this](FakeExchange& exchange) { Handle(exchange); };
  }

  // As another client would: `collection` is a path ("/api/v1/pods" without namespace).
  void Put(const std::string& collection, const std::string& ns, const std::string& name,
           const nlohmann::json& more = nlohmann::json::object());
  void Remove(const std::string& collection, const std::string& ns, const std::string& name);
  nlohmann::json Find(const std::string& collection, const std::string& ns, const std::string& name) const;  // or null
  size_t Count(const std::string& collection) const;

  // Faults.
  void EndWatches();           // as a timeout does
  void BreakWatches();         // connections close
  void Compact();              // what has happened is forgotten: watches from before get 410
  void ExpireContinue(int n);  // the next n continue tokens are 410
  int watches() const;         // open now
  int lists() const;           // first pages served

 private:
  struct Place {
    std::string collection, ns, name;
  };
  struct Change {
    int64_t version;
    std::string type;
    Place place;
    nlohmann::json object;
  };
  using Key = std::pair<std::string, std::string>;  // collection, namespace/name

  void Handle(FakeExchange& exchange);
  static Place PlaceOf(const std::string& path);
  void List(FakeExchange& exchange, const Place& place);
  void Watch(FakeExchange& exchange, const Place& place);
  std::pair<int, std::string> Write(const std::string& method, Place place, const std::string& body);
  nlohmann::json Save(const Place& place, nlohmann::json object, const char* type)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  static Key KeyAt(const Place& place) { return {place.collection, place.ns + "/" + place.name}; }

  mutable absl::Mutex mutex_;
  int64_t version_ ABSL_GUARDED_BY(mutex_) = 1;
  int64_t compacted_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<Key, nlohmann::json> objects_ ABSL_GUARDED_BY(mutex_);
  std::vector<Change> changes_ ABSL_GUARDED_BY(mutex_);
  int ended_ ABSL_GUARDED_BY(mutex_) = 0;   // times that watches were ended
  int broken_ ABSL_GUARDED_BY(mutex_) = 0;  // times that watches were broken
  int expire_ ABSL_GUARDED_BY(mutex_) = 0;
  int watches_ ABSL_GUARDED_BY(mutex_) = 0;
  int lists_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace slmmesh::kube
