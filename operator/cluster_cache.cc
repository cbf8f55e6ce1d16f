#include "operator/cluster_cache.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "operator/json_fields.h"
#include "operator/packed_cluster.h"
#include "operator/projection.h"

namespace slmmesh {
namespace {

using nlohmann::json;

// Deletions that are remembered so that a late answer to a creation cannot bring an object back.
constexpr size_t kMaxDeletions = 4096;

bool SamePod(const ObservedPod& a, const ObservedPod& b) {
  return a.uid == b.uid && a.role == b.role && a.worker_group == b.worker_group && a.revision == b.revision &&
         a.hash == b.hash && a.slot == b.slot && a.phase == b.phase && a.ready == b.ready &&
         a.terminating == b.terminating && a.node == b.node && a.ip == b.ip && a.restarts == b.restarts &&
         a.trouble == b.trouble;
}

std::string KeyOfObject(CachedKind kind, const json& object) {
  if (kind != CachedKind::kCluster) return OwningClusterKey(object);
  return ClusterKey(TextOf(FieldOf(object, "metadata"), "namespace"), NameOf(object));
}

struct Mark {
  uint64_t version = 0;
  uint32_t list_number = 0;  // of the list that last showed it
};

struct CachedPod : Mark {
  ObservedPod pod;
  std::string owner_uid;
  bool deleted_by_us = false;
};

struct CachedObject : Mark {
  ObservedObject object;
  std::string owner_uid;
};

bool PutObject(CachedObject& cached, uint32_t list_number, const json& object) {
  cached.list_number = list_number;
  const uint64_t version = ResourceVersion(object);
  if (version <= cached.version) return false;
  cached.version = version;
  ObservedObject seen = ProjectObject(object);
  std::string owner_uid = ControllerUid(object);
  const bool changed =
      seen.hash != cached.object.hash || seen.uid != cached.object.uid || owner_uid != cached.owner_uid;
  cached.object = std::move(seen);
  cached.owner_uid = std::move(owner_uid);
  return changed;
}

}  // namespace

struct ClusterCache::Entry {
  struct CachedCluster : Mark {
    bool exists = false;
    PackedCluster packed;
  };
  CachedCluster cluster;
  std::map<std::string, CachedPod> pods;
  std::map<std::string, CachedObject> services, budgets;

  std::map<std::string, CachedObject>& ObjectsOf(CachedKind kind) {
    return kind == CachedKind::kService ? services : budgets;
  }
  const std::map<std::string, CachedObject>& ObjectsOf(CachedKind kind) const {
    return kind == CachedKind::kService ? services : budgets;
  }
};

// (kind, cluster, name) → resourceVersion at its end.
struct ClusterCache::Deletions {
  std::map<std::string, uint64_t> versions;

  static std::string Name(CachedKind kind, const std::string& key, const std::string& name) {
    return absl::StrCat(static_cast<int>(kind), " ", key, " ", name);
  }
  void Add(const std::string& name, uint64_t version) {
    if (versions.size() >= kMaxDeletions) versions.clear();  // what they guard against takes milliseconds
    versions[name] = version;
  }
  bool Covers(const std::string& name, uint64_t version) const {
    const auto found = versions.find(name);
    return found != versions.end() && found->second >= version;
  }
};

ClusterCache::ClusterCache(std::function<void(const std::string&)> on_change)
    : on_change_(std::move(on_change)), deletions_(std::make_unique<Deletions>()) {}
ClusterCache::~ClusterCache() = default;

kube::Reflector::Sink ClusterCache::SinkOf(CachedKind kind, const std::string& ns) {
  return {[this, kind, ns] { BeginList(kind, ns); }, [this, kind](const json& object) { Upsert(kind, object); },
          [this, kind](const json& object) { Remove(kind, object); }, [this, kind, ns] { EndList(kind, ns); }};
}

uint32_t ClusterCache::ListNumber(CachedKind kind, const std::string& key) const {
  const std::map<std::string, uint32_t>& numbers = list_numbers_[static_cast<int>(kind)];
  auto found = numbers.find(key.substr(0, key.find('/')));
  if (found == numbers.end()) found = numbers.find("");
  return found == numbers.end() ? 0 : found->second;
}

void ClusterCache::BeginList(CachedKind kind, const std::string& ns) {
  const absl::MutexLock lock(&mutex_);
  ++list_numbers_[static_cast<int>(kind)][ns];
}

void ClusterCache::Upsert(CachedKind kind, const json& object) {
  const std::string key = KeyOfObject(kind, object);
  if (key.empty()) return;
  bool changed;
  {
    const absl::MutexLock lock(&mutex_);
    changed = Put(kind, key, object);
    DropIfEmpty(key);
  }
  if (changed) on_change_(key);
}

void ClusterCache::Wrote(CachedKind kind, const json& object) {
  const std::string key = KeyOfObject(kind, object);
  if (key.empty()) return;
  const absl::MutexLock lock(&mutex_);
  if (!deletions_->Covers(Deletions::Name(kind, key, NameOf(object)), ResourceVersion(object))) Put(kind, key, object);
}

void ClusterCache::Remove(CachedKind kind, const json& object) {
  const std::string key = KeyOfObject(kind, object);
  if (key.empty()) return;
  bool changed = false;
  {
    const absl::MutexLock lock(&mutex_);
    const std::string name = NameOf(object);
    const uint64_t version = ResourceVersion(object);
    deletions_->Add(Deletions::Name(kind, key, name), version);
    if (const auto entry = entries_.find(key); entry != entries_.end()) {
      changed = Erase(kind, *entry->second, name, version);
    }
    DropIfEmpty(key);
  }
  if (changed) on_change_(key);
}

std::vector<std::string> ClusterCache::NotListed(CachedKind kind, const Entry& entry, uint32_t number) const {
  std::vector<std::string> gone;
  if (kind == CachedKind::kCluster) {
    if (entry.cluster.exists && entry.cluster.list_number != number) gone.emplace_back();
  } else if (kind == CachedKind::kPod) {
    for (const auto& [name, pod] : entry.pods) {
      if (pod.list_number != number) gone.push_back(name);
    }
  } else {
    for (const auto& [name, object] : entry.ObjectsOf(kind)) {
      if (object.list_number != number) gone.push_back(name);
    }
  }
  return gone;
}

void ClusterCache::EndList(CachedKind kind, const std::string& ns) {
  std::vector<std::string> changed;
  {
    const absl::MutexLock lock(&mutex_);
    const uint32_t number = list_numbers_[static_cast<int>(kind)][ns];
    for (auto& [key, entry] : entries_) {
      if (!ns.empty() && !absl::StartsWith(key, ns + "/")) continue;
      const std::vector<std::string> gone = NotListed(kind, *entry, number);
      for (const std::string& name : gone) Erase(kind, *entry, name, UINT64_MAX);
      if (!gone.empty()) changed.push_back(key);
    }
    for (const std::string& key : changed) DropIfEmpty(key);
  }
  for (const std::string& key : changed) on_change_(key);
}

bool ClusterCache::Put(CachedKind kind, const std::string& key, const json& object) {
  std::unique_ptr<Entry>& entry = entries_[key];
  if (entry == nullptr) entry = std::make_unique<Entry>();
  const uint32_t list_number = ListNumber(kind, key);
  if (kind == CachedKind::kCluster) return PutCluster(*entry, list_number, object);
  if (kind == CachedKind::kPod) return PutPod(*entry, list_number, object);
  return PutObject(entry->ObjectsOf(kind)[NameOf(object)], list_number, object);
}

bool ClusterCache::PutCluster(Entry& entry, uint32_t list_number, const json& object) {
  Entry::CachedCluster& cached = entry.cluster;
  cached.list_number = list_number;
  const uint64_t version = ResourceVersion(object);
  if (cached.exists && version <= cached.version) return false;
  cached.version = version;
  ObservedCluster seen = ProjectClusterWithoutSpec(object);
  if (cached.exists && cached.packed.uid() == seen.uid && cached.packed.generation() == seen.generation) {
    return cached.packed.UpdateWithoutSpec(std::move(seen));
  }
  if (!cached.exists) ++clusters_;
  cached.exists = true;
  cached.packed = PackedCluster(ProjectCluster(object));
  return true;
}

bool ClusterCache::PutPod(Entry& entry, uint32_t list_number, const json& object) {
  std::optional<ObservedPod> seen = ProjectPod(object);
  if (!seen.has_value()) return false;
  const auto [place, is_new] = entry.pods.try_emplace(seen->name);
  CachedPod& cached = place->second;
  cached.list_number = list_number;
  const uint64_t version = ResourceVersion(object);
  if (!is_new && version <= cached.version) return false;
  if (is_new) ++pods_;
  cached.version = version;
  // The event may be older than our deletion, which has no version that we know.
  cached.deleted_by_us = cached.deleted_by_us && cached.pod.uid == seen->uid;
  seen->terminating = seen->terminating || cached.deleted_by_us;
  std::string owner_uid = ControllerUid(object);
  const bool changed = is_new || owner_uid != cached.owner_uid || !SamePod(cached.pod, *seen);
  cached.pod = *std::move(seen);
  cached.owner_uid = std::move(owner_uid);
  return changed;
}

bool ClusterCache::Erase(CachedKind kind, Entry& entry, const std::string& name, uint64_t version) {
  if (kind == CachedKind::kCluster) {
    if (!entry.cluster.exists || entry.cluster.version > version) return false;
    entry.cluster = Entry::CachedCluster();
    --clusters_;
    return true;
  }
  if (kind == CachedKind::kPod) {
    const auto pod = entry.pods.find(name);
    if (pod == entry.pods.end() || pod->second.version > version) return false;
    entry.pods.erase(pod);
    --pods_;
    return true;
  }
  std::map<std::string, CachedObject>& objects = entry.ObjectsOf(kind);
  const auto object = objects.find(name);
  if (object == objects.end() || object->second.version > version) return false;
  objects.erase(object);
  return true;
}

void ClusterCache::DropIfEmpty(const std::string& key) {
  const auto found = entries_.find(key);
  if (found == entries_.end()) return;
  const Entry& entry = *found->second;
  if (!entry.cluster.exists && entry.pods.empty() && entry.services.empty() && entry.budgets.empty()) {
    entries_.erase(found);
  }
}

void ClusterCache::DeletedPod(const std::string& key, const std::string& name, const std::string& uid) {
  const absl::MutexLock lock(&mutex_);
  const auto entry = entries_.find(key);
  if (entry == entries_.end()) return;
  const auto pod = entry->second->pods.find(name);
  if (pod == entry->second->pods.end() || pod->second.pod.uid != uid) return;
  pod->second.deleted_by_us = true;
  pod->second.pod.terminating = true;
}

void ClusterCache::DeletedDisruptionBudget(const std::string& key, const std::string& name) {
  const absl::MutexLock lock(&mutex_);
  if (const auto entry = entries_.find(key); entry != entries_.end()) entry->second->budgets.erase(name);
}

std::optional<Observed> ClusterCache::Observe(const std::string& key) const {
  const absl::MutexLock lock(&mutex_);
  const auto found = entries_.find(key);
  if (found == entries_.end() || !found->second->cluster.exists) return std::nullopt;
  const Entry& entry = *found->second;
  Observed observed;
  observed.cluster = entry.cluster.packed.Unpack();
  for (const auto& [name, cached] : entry.pods) {
    if (cached.owner_uid == observed.cluster.uid) observed.pods.push_back(cached.pod);
  }
  for (const auto& [name, cached] : entry.services) {
    if (cached.owner_uid == observed.cluster.uid) observed.services.push_back(cached.object);
  }
  for (const auto& [name, cached] : entry.budgets) {
    if (cached.owner_uid == observed.cluster.uid) observed.disruption_budgets.push_back(cached.object);
  }
  return observed;
}

std::string ClusterCache::ClusterVersion(const std::string& key) const {
  const absl::MutexLock lock(&mutex_);
  const auto found = entries_.find(key);
  if (found == entries_.end() || !found->second->cluster.exists) return "";
  return absl::StrCat(found->second->cluster.version);
}

std::vector<std::string> ClusterCache::Keys() const {
  const absl::MutexLock lock(&mutex_);
  std::vector<std::string> keys;
  for (const auto& [key, entry] : entries_) {
    if (entry->cluster.exists) keys.push_back(key);
  }
  return keys;
}

size_t ClusterCache::clusters() const {
  const absl::MutexLock lock(&mutex_);
  return clusters_;
}

size_t ClusterCache::pods() const {
  const absl::MutexLock lock(&mutex_);
  return pods_;
}

}  // namespace slmmesh
