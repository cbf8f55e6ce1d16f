#include "operator/kinds.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "operator/drain.h"
#include "operator/pods.h"

namespace slmmesh {
namespace {

class KindSorter {
 public:
  explicit KindSorter(const KindsInput& input)
      : input_(input),
        status_(input.observed.cluster.status),
        spec_(input.spec),
        hashes_(ParseRoleHashes(input.revision.history.back().hash())),
        told_(ToldToDrain(input.observed)) {}

  ClusterKinds Sort() {
    kinds_.head = SinglePods(PodRole::kHead, 1, /*surge=*/0);
    kinds_.router = SinglePods(PodRole::kRouter, spec_.router_spec().replicas(), /*surge=*/1);
    for (const auto& group : spec_.worker_group_specs()) kinds_.workers.push_back(Workers(group.group_name()));
    kinds_.groups_in_spec = kinds_.workers.size();
    for (size_t i = 0; i < kinds_.groups_in_spec; ++i) SetNumberOfGroups(i);
    AddGroupsNoLongerInSpec();
    return std::move(kinds_);
  }

 private:
  PodKind Kind(PodRole role, const std::string& worker_group) const {
    PodKind kind;
    kind.role = role;
    kind.worker_group = worker_group;
    const auto hash = hashes_.find(RoleKey(role, worker_group));
    if (hash != hashes_.end()) kind.wanted_hash = hash->second;
    for (const ObservedPod& pod : input_.observed.pods) {
      if (pod.role == role && pod.worker_group == worker_group) kind.pods.push_back(&pod);
    }
    return kind;
  }

  // Once a unit of what is wanted serves, or did, nothing else is to be fallen back to.
  void SetProven(PodKind* kind) const {
    const std::string role_key = RoleKey(kind->role, kind->worker_group);
    const bool serves = std::any_of(kind->units.begin(), kind->units.end(),
                                    [](const Unit& unit) { return unit.is_wanted && unit.is_routable; });
    const auto& history = input_.revision.history;
    for (auto revision = history.rbegin(); revision != history.rend() && !serves; ++revision) {
      if (!revision->served()) continue;
      const RoleHashes hashes = ParseRoleHashes(revision->hash());
      const auto hash = hashes.find(role_key);
      if (hash == hashes.end()) continue;
      if (hash->second == kind->wanted_hash) break;
      kind->rules.proven_hash = hash->second;
      kind->proven_size = kind->role == PodRole::kWorker ? SizeOf(kind->worker_group, hash->second) : 1;
      break;
    }
  }

  PodKind SinglePods(PodRole role, uint32_t wanted, uint32_t surge) const {
    PodKind kind = Kind(role, "");
    kind.units = SinglePodUnits(kind.pods, {kind.wanted_hash, {}, {}});
    kind.rules.wanted = wanted;
    kind.rules.surge = surge;
    SetProven(&kind);
    return kind;
  }

  PodKind Workers(const std::string& worker_group) const {
    PodKind kind = Kind(PodRole::kWorker, worker_group);
    kind.size = spec_.tensor_parallel_size();
    UnitRules rules = {kind.wanted_hash, {{kind.wanted_hash, kind.size}}, told_};
    for (const ObservedPod* pod : kind.pods) {
      if (rules.sizes.count(pod->hash) == 0) rules.sizes.emplace(pod->hash, SizeOf(worker_group, pod->hash));
    }
    kind.units = WorkerUnits(kind.pods, input_.observed.table.get(), rules);
    const v1::RolloutSpec& rollout = spec_.rollout();
    kind.rules.surge = rollout.has_max_surge() ? rollout.max_surge() : 1;
    kind.rules.unavailable = rollout.max_unavailable();
    SetProven(&kind);
    return kind;
  }

  uint32_t SizeOf(const std::string& worker_group, const std::string& hash) const {
    const v1::Revision* revision = FindRevision(RoleKey(PodRole::kWorker, worker_group), hash, input_.revision.history);
    return revision == nullptr ? spec_.tensor_parallel_size() : GroupSizeOf(*revision);
  }

  const v1::WorkerGroupStatus& StatusOf(const std::string& worker_group) const {
    for (const v1::WorkerGroupStatus& group : status_.worker_groups()) {
      if (group.group_name() == worker_group) return group;
    }
    return v1::WorkerGroupStatus::default_instance();
  }

  void SetNumberOfGroups(size_t i) {
    PodKind& kind = kinds_.workers[i];
    const v1::WorkerGroupSpec& group = spec_.worker_group_specs(static_cast<int>(i));
    const v1::WorkerGroupStatus& before = StatusOf(kind.worker_group);
    const uint32_t size = std::max(kind.size, 1u);
    const uint32_t least = (group.min_replicas() + size - 1) / size;
    const uint32_t most = std::max(group.max_replicas() / size, least);
    const bool is_by_scale = i == 0 && spec_.has_groups();
    ScaleDecision scale;
    std::string limit;
    scale.groups = group.replicas() / size;
    if (input_.is_held && !before.group_name().empty()) {
      scale.groups = before.wanted_groups();
    } else if (is_by_scale) {
      scale.groups = std::clamp(spec_.groups(), least, most);
      if (scale.groups != spec_.groups()) {
        limit = absl::StrCat("groups is ", spec_.groups(), ", but minReplicas and maxReplicas of ", kind.worker_group,
                             " allow ", least, " to ", most);
      }
    } else if (spec_.has_autoscaling()) {
      kinds_.is_autoscaled = true;
      scale = Autoscale(kind, before, {least, most}, group.replicas() / size);
    }
    kind.rules.wanted = scale.groups;
    kinds_.scales.push_back(std::move(scale));
    kinds_.scale_limits.push_back(std::move(limit));
  }

  ScaleDecision Autoscale(const PodKind& kind, const v1::WorkerGroupStatus& before, std::pair<uint32_t, uint32_t> range,
                          uint32_t at_first) {
    ScaleInput scale;
    scale.targets = spec_.autoscaling();
    scale.groups = before.group_name().empty() ? at_first : before.wanted_groups();
    scale.min_groups = range.first;
    scale.max_groups = range.second;
    scale.memory = before;
    const v1::ClusterTable* table = input_.observed.table.get();
    scale.is_known = table != nullptr;
    for (const Unit& unit : kind.units) {
      if (unit.is_routable && !unit.is_draining) scale.loads.push_back(unit.group->load());
    }
    if (table != nullptr) {
      uint32_t queued = 0, active = 0;
      for (const v1::RouterReport& router : table->routers()) {
        queued += router.queued_requests();
        active += router.active_requests();
      }
      scale.is_idle = queued + active == 0 && table->routers_size() > 0;
      // One worker group answers the call; the others grow by their own load.
      scale.is_asked_for = queued > 0 && !is_woken_ && !AnyGroupWanted();
    }
    ScaleDecision decision = DecideScale(scale, input_.now);
    is_woken_ = is_woken_ || (scale.is_asked_for && decision.groups > 0);
    return decision;
  }

  bool AnyGroupWanted() const {
    const auto& groups = status_.worker_groups();
    return std::any_of(groups.begin(), groups.end(), [](const auto& group) { return group.wanted_groups() > 0; });
  }

  void AddGroupsNoLongerInSpec() {
    std::set<std::string> names;
    for (const ObservedPod& pod : input_.observed.pods) {
      if (pod.role == PodRole::kWorker && FindWorkerGroup(spec_, pod.worker_group) == nullptr) {
        names.insert(pod.worker_group);
      }
    }
    const bool others_serve = std::all_of(kinds_.workers.begin(), kinds_.workers.end(), [](const PodKind& kind) {
      const uint32_t least = std::max(FloorOf(kind.rules), std::min(kind.rules.wanted, 1u));
      return CountServing(kind, /*of_wanted_only=*/false) >= least;
    });
    for (const std::string& name : names) {
      PodKind kind = Workers(name);
      kind.rules.hold = !others_serve;
      kinds_.workers.push_back(std::move(kind));
    }
  }

  const KindsInput& input_;
  const v1::InferenceClusterStatus& status_;
  const v1::InferenceClusterSpec& spec_;
  const RoleHashes hashes_;
  const std::set<std::string> told_;
  bool is_woken_ = false;
  ClusterKinds kinds_;
};

}  // namespace

ClusterKinds SortIntoKinds(const KindsInput& input) { return KindSorter(input).Sort(); }

void DecideKinds(bool is_frozen, ClusterKinds* kinds) {
  const auto decide = [is_frozen](PodKind& kind) {
    kind.rules.is_frozen = is_frozen;
    kind.decision = DecideRollout(kind.units, kind.rules);
  };
  decide(kinds->head);
  decide(kinds->router);
  for (PodKind& kind : kinds->workers) decide(kind);
}

}  // namespace slmmesh
