#include "operator/unit.h"

#include <algorithm>
#include <utility>

namespace slmmesh {
namespace {

bool BySlot(const ObservedPod* a, const ObservedPod* b) {
  return std::pair(a->slot, a->name) < std::pair(b->slot, b->name);
}

class UnitBuilder {
 public:
  UnitBuilder(const std::vector<const ObservedPod*>& pods, const v1::ClusterTable* table, const UnitRules& rules)
      : table_(table), rules_(rules) {
    for (const ObservedPod* pod : pods) {
      if (IsPresent(*pod)) loose_.emplace(pod->name, pod);
    }
    if (table != nullptr) {
      routable_ = RoutableGroups(*table);
      for (const v1::Member& member : table->members()) members_.insert(member.offer().worker_id());
    }
  }

  std::vector<Unit> Build() {
    if (table_ != nullptr) {
      for (const v1::Group& group : table_->groups()) AddGroup(group);
    }
    std::map<std::string, std::vector<const ObservedPod*>> without_seat;  // by hash
    for (const auto& [name, pod] : loose_) without_seat[pod->hash].push_back(pod);
    for (auto& [hash, pods] : without_seat) AddLoose(hash, pods);
    for (Unit& unit : units_) Finish(unit);
    return std::move(units_);
  }

 private:
  uint32_t SizeOf(const std::string& hash) const {
    const auto found = rules_.sizes.find(hash);
    return found == rules_.sizes.end() ? 1 : std::max(found->second, 1u);
  }

  void AddGroup(const v1::Group& group) {
    Unit unit;
    unit.group = &group;
    unit.size = std::max(group.size(), 1u);
    for (const std::string& worker_id : group.worker_ids()) {
      const auto found = loose_.find(worker_id);
      if (found == loose_.end()) continue;
      unit.pods.push_back(found->second);
      loose_.erase(found);
    }
    if (unit.pods.empty()) return;
    unit.is_routable = unit.is_whole() && routable_.count({group.group_id(), group.epoch()}) > 0;
    unit.load = group.load().running() + group.load().waiting();
    // A group that drains because one of its pods ends stays; that pod is replaced.
    unit.is_draining = group.draining() && unit.is_whole();
    units_.push_back(std::move(unit));
  }

  void AddLoose(const std::string& hash, std::vector<const ObservedPod*>& pods) {
    std::sort(pods.begin(), pods.end(), [this](const ObservedPod* a, const ObservedPod* b) {
      const bool a_drains = rules_.draining.count(a->name) > 0;
      const bool b_drains = rules_.draining.count(b->name) > 0;
      return a_drains != b_drains ? b_drains : BySlot(a, b);
    });
    auto next = pods.begin();
    for (Unit& unit : units_) {
      if (unit.pods.front()->hash != hash || IsLeaving(unit)) continue;
      while (!unit.is_whole() && next != pods.end() && rules_.draining.count((*next)->name) == 0) {
        unit.pods.push_back(*next++);
      }
    }
    while (next != pods.end()) {
      Unit unit;
      unit.size = SizeOf(hash);
      while (!unit.is_whole() && next != pods.end()) unit.pods.push_back(*next++);
      units_.push_back(std::move(unit));
    }
  }

  bool IsLeaving(const Unit& unit) const {
    return unit.is_draining || std::any_of(unit.pods.begin(), unit.pods.end(), [this](const ObservedPod* pod) {
             return rules_.draining.count(pod->name) > 0;
           });
  }

  void Finish(Unit& unit) const {
    std::sort(unit.pods.begin(), unit.pods.end(), BySlot);
    unit.hash = unit.pods.front()->hash;
    unit.revision = unit.pods.front()->revision;
    unit.is_wanted = unit.hash == rules_.wanted_hash;
    unit.is_draining = IsLeaving(unit);
    unit.has_started = false;
    for (const ObservedPod* pod : unit.pods) {
      unit.may_serve = unit.may_serve || pod->ready;
      unit.has_started = unit.has_started || pod->phase != PodPhase::kPending || members_.count(pod->name) > 0;
    }
    unit.may_serve = unit.may_serve || unit.is_routable;
  }

  const v1::ClusterTable* table_;
  const UnitRules& rules_;
  std::map<std::string, const ObservedPod*> loose_;
  std::set<std::pair<std::string, uint64_t>> routable_;
  std::set<std::string> members_;
  std::vector<Unit> units_;
};

}  // namespace

bool HasFailed(const ObservedPod& pod) { return pod.phase == PodPhase::kFailed || pod.phase == PodPhase::kSucceeded; }

bool IsPresent(const ObservedPod& pod) { return !pod.terminating && !HasFailed(pod); }

std::set<std::pair<std::string, uint64_t>> RoutableGroups(const v1::ClusterTable& table) {
  std::set<std::pair<std::string, uint64_t>> routable;
  for (const v1::RouterReport& router : table.routers()) {
    for (const v1::GroupSeat& seat : router.routable()) routable.emplace(seat.group_id(), seat.epoch());
  }
  return routable;
}

bool IsListedByRouter(const v1::ClusterTable& table, const std::string& group_id) {
  for (const v1::RouterReport& router : table.routers()) {
    for (const v1::GroupSeat& seat : router.routable()) {
      if (seat.group_id() == group_id) return true;
    }
  }
  return false;
}

std::vector<Unit> WorkerUnits(const std::vector<const ObservedPod*>& pods, const v1::ClusterTable* table,
                              const UnitRules& rules) {
  return UnitBuilder(pods, table, rules).Build();
}

std::vector<Unit> SinglePodUnits(const std::vector<const ObservedPod*>& pods, const UnitRules& rules) {
  std::vector<Unit> units = UnitBuilder(pods, nullptr, rules).Build();
  for (Unit& unit : units) unit.is_routable = unit.may_serve;
  return units;
}

}  // namespace slmmesh
