#include "operator/pod_plan.h"

#include <algorithm>
#include <utility>

namespace slmmesh {
namespace {

class PodPlanner {
 public:
  PodPlanner(const ObservedCluster& cluster, const PodKind& kind, const std::map<std::string, uint32_t>& numbers,
             absl::Time now, std::set<std::string>* taken)
      : cluster_(cluster), kind_(kind), numbers_(numbers), now_(now), taken_(taken) {
    for (const ObservedPod* pod : kind.pods) {
      if (HasFailed(*pod) && !pod->terminating) failures_[{pod->hash, pod->slot}].push_back(pod);
      if (IsPresent(*pod)) used_slots_[pod->hash].insert(pod->slot);
    }
    for (auto& [place, pods] : failures_) {
      std::sort(pods.begin(), pods.end(), [](const ObservedPod* a, const ObservedPod* b) {
        return std::pair(a->created, a->name) < std::pair(b->created, b->name);
      });
    }
  }

  PodChanges Plan() {
    std::map<std::string, uint32_t> missing;  // by hash
    if (!kind_.wanted_hash.empty()) missing[kind_.wanted_hash] = kind_.decision.wanted_units * kind_.size;
    if (!kind_.rules.proven_hash.empty()) {
      missing[kind_.rules.proven_hash] = kind_.decision.proven_units * kind_.proven_size;
    }
    for (size_t i = 0; i < kind_.units.size(); ++i) {
      const Unit& unit = kind_.units[i];
      const auto rest = missing.find(unit.hash);
      if (kind_.decision.leaves[i] || rest == missing.end()) continue;
      rest->second -= std::min(rest->second, static_cast<uint32_t>(unit.pods.size()));
    }
    for (const auto& [hash, count] : missing) Create(hash, count);
    RemoveFailed();
    return std::move(changes_);
  }

 private:
  using Place = std::pair<std::string, uint32_t>;  // hash, slot

  void Create(const std::string& hash, uint32_t count) {
    std::set<uint32_t>& used = used_slots_[hash];
    for (uint32_t slot = 0; count > 0; ++slot) {  // ends: `used` is finite
      if (!used.insert(slot).second) continue;
      --count;
      const auto failed = failures_.find({hash, slot});
      if (failed != failures_.end() && MustWait(failed->second)) continue;
      NewPod pod;
      pod.place = {kind_.role, kind_.worker_group, numbers_.at(hash), slot};
      pod.hash = hash;
      pod.name = FreePodName(cluster_, pod.place, *taken_);
      if (failed != failures_.end()) pod.replaces = failed->second.back();
      taken_->insert(pod.name);
      changes_.created.push_back(std::move(pod));
    }
  }

  bool MustWait(const std::vector<const ObservedPod*>& failed) {
    const absl::Time due = failed.back()->created + ReplacementDelay(failed.size());
    if (due <= now_) return false;
    changes_.look_again_in = std::min(changes_.look_again_in, due - now_);
    return true;
  }

  // They are kept while their place is in use but nothing runs in it: to be counted, and for their logs.
  void RemoveFailed() {
    for (const auto& [place, pods] : failures_) {
      size_t kept = IsWorking(place) || used_slots_[place.first].count(place.second) == 0 ? 0 : kKeptFailures;
      for (auto pod = pods.rbegin(); pod != pods.rend(); ++pod) {
        if (kept == 0) changes_.removed.push_back(*pod);
        if (kept > 0) --kept;
      }
    }
  }

  bool IsWorking(const Place& place) const {
    return std::any_of(kind_.pods.begin(), kind_.pods.end(), [&place](const ObservedPod* pod) {
      return IsPresent(*pod) && pod->ready && pod->hash == place.first && pod->slot == place.second;
    });
  }

  const ObservedCluster& cluster_;
  const PodKind& kind_;
  const std::map<std::string, uint32_t>& numbers_;
  const absl::Time now_;
  std::set<std::string>* taken_;
  std::map<Place, std::vector<const ObservedPod*>> failures_;  // oldest first
  std::map<std::string, std::set<uint32_t>> used_slots_;       // by hash
  PodChanges changes_;
};

}  // namespace

absl::Duration ReplacementDelay(size_t failures) {
  constexpr absl::Duration kFirst = absl::Seconds(10), kLongest = absl::Minutes(5);
  if (failures <= 1) return absl::ZeroDuration();
  return std::min(kFirst * (int64_t{1} << std::min<size_t>(failures - 2, 10)), kLongest);
}

PodChanges PlanPods(const ObservedCluster& cluster, const PodKind& kind, const std::map<std::string, uint32_t>& numbers,
                    absl::Time now, std::set<std::string>* taken) {
  return PodPlanner(cluster, kind, numbers, now, taken).Plan();
}

}  // namespace slmmesh
