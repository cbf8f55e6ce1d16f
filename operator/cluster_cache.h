// What the API server says of all clusters, as planning reads it: filled by four watches (InferenceClusters, Pods,
// Services, PodDisruptionBudgets), by cluster, so that one look gives one cluster and no namespace is scanned.
//
// Our own writes go in at once (Wrote, Deleted) rather than when the watch brings them: the next pass never plans on
// a picture from before its own doing, creates no pod twice and waits for nothing. The greater resourceVersion wins,
// so the watch's late echo of a write changes nothing and wakes nobody.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "nlohmann/json_fwd.hpp"
#include "operator/kube/informer.h"
#include "operator/observed.h"

namespace slmmesh {

enum class CachedKind { kCluster, kPod, kService, kDisruptionBudget };
inline constexpr int kCachedKinds = 4;

// Thread-safe.
class ClusterCache {
 public:
  // Called, without locks, when a watch changed what planning reads of the cluster `key`, or it is gone.
  explicit ClusterCache(std::function<void(const std::string& key)> on_change);
  ~ClusterCache();

  // The ends of a kube::Reflector of `kind` in the namespace `ns`; empty: in all. Each namespace is watched by one
  // reflector a kind at most.
  kube::Reflector::Sink SinkOf(CachedKind kind, const std::string& ns = "");
  void BeginList(CachedKind kind, const std::string& ns = "");
  void Upsert(CachedKind kind, const nlohmann::json& object);
  void Remove(CachedKind kind, const nlohmann::json& object);
  void EndList(CachedKind kind, const std::string& ns = "");

  // The API server's answer to a write of ours.
  void Wrote(CachedKind kind, const nlohmann::json& object);
  // It took our deletion of this pod (only if it still has this uid): terminating from now on.
  void DeletedPod(const std::string& key, const std::string& name, const std::string& uid);
  void DeletedDisruptionBudget(const std::string& key, const std::string& name);

  // One cluster's objects, of those that it controls; certificates and table are for others to fill in. nullopt: there
  // is no such cluster.
  std::optional<Observed> Observe(const std::string& key) const;
  std::string ClusterVersion(const std::string& key) const;  // resourceVersion; empty: no such cluster
  std::vector<std::string> Keys() const;                     // of clusters
  size_t clusters() const;
  size_t pods() const;

 private:
  struct Entry;
  struct Deletions;

  // Each returns whether planning would see a difference. With mutex_ held.
  bool Put(CachedKind kind, const std::string& key, const nlohmann::json& object) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool PutCluster(Entry& entry, uint32_t list_number, const nlohmann::json& object)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool PutPod(Entry& entry, uint32_t list_number, const nlohmann::json& object) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool Erase(CachedKind kind, Entry& entry, const std::string& name, uint64_t version)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void DropIfEmpty(const std::string& key) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::vector<std::string> NotListed(CachedKind kind, const Entry& entry, uint32_t number) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Of the list, of all namespaces or of the key's, that is under way or was last.
  uint32_t ListNumber(CachedKind kind, const std::string& key) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::function<void(const std::string&)> on_change_;
  mutable absl::Mutex mutex_;
  std::map<std::string, std::unique_ptr<Entry>> entries_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, uint32_t> list_numbers_[kCachedKinds] ABSL_GUARDED_BY(mutex_);  // by namespace; "": all
  std::unique_ptr<Deletions> deletions_ ABSL_GUARDED_BY(mutex_);
  size_t clusters_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t pods_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace slmmesh
