#include "operator/drain.h"

#include <algorithm>
#include <map>

#include "operator/autoscale.h"

namespace slmmesh {
namespace {

class DrainPlanner {
 public:
  DrainPlanner(const Observed& observed, absl::Duration drain_time, absl::Time now)
      : observed_(observed), table_(observed.table.get()), drain_time_(drain_time), now_(now) {
    for (const v1::Draining& told : observed.cluster.status.draining()) {
      told_.emplace(told.pod(), TimeFromText(told.since(), now));
    }
  }

  DrainPlan Plan(const std::vector<const Unit*>& leaving) {
    if (table_ == nullptr) return KeepWhatWasTold(leaving);
    std::map<std::string, absl::Time> wanted;
    for (const Unit* unit : leaving) {
      if (!unit->has_started) continue;
      for (const ObservedPod* pod : unit->pods) wanted.emplace(pod->name, SinceOf(pod->name));
    }
    // Those that end on their own take no new requests either, and nobody returns from there before it is gone.
    for (const ObservedPod& pod : observed_.pods) {
      const bool ends = pod.role == PodRole::kWorker && pod.terminating;
      if (ends && (told_.count(pod.name) > 0 || IsSeated(pod.name))) wanted.emplace(pod.name, SinceOf(pod.name));
    }
    for (const auto& [pod, since] : wanted) {
      v1::Draining& draining = plan_.draining.emplace_back();
      draining.set_pod(pod);
      draining.set_since(TimeText(since));
    }
    plan_.must_tell = IsNewsToTheHead(wanted);
    for (const Unit* unit : leaving) plan_.is_drained.push_back(!unit->has_started || IsDrained(*unit));
    return std::move(plan_);
  }

 private:
  DrainPlan KeepWhatWasTold(const std::vector<const Unit*>& leaving) {
    const auto& told = observed_.cluster.status.draining();
    plan_.draining.assign(told.begin(), told.end());
    for (const Unit* unit : leaving) plan_.is_drained.push_back(!unit->has_started);
    return std::move(plan_);
  }

  absl::Time SinceOf(const std::string& pod) const {
    const auto found = told_.find(pod);
    return found == told_.end() || found->second == absl::InfinitePast() ? now_ : found->second;
  }

  bool IsSeated(const std::string& pod) const {
    const auto& groups = table_->groups();
    return std::any_of(groups.begin(), groups.end(), [&pod](const v1::Group& group) {
      return std::find(group.worker_ids().begin(), group.worker_ids().end(), pod) != group.worker_ids().end();
    });
  }

  // The list differs from what was told last, or a head that was restarted since shows that it does not know it.
  bool IsNewsToTheHead(const std::map<std::string, absl::Time>& wanted) const {
    const auto same_pod = [](const auto& a, const auto& b) { return a.first == b.first; };
    if (!std::equal(wanted.begin(), wanted.end(), told_.begin(), told_.end(), same_pod)) return true;
    for (const v1::Group& group : table_->groups()) {
      const bool is_wanted = std::any_of(group.worker_ids().begin(), group.worker_ids().end(),
                                         [&wanted](const std::string& pod) { return wanted.count(pod) > 0; });
      if (is_wanted != group.draining()) return true;
    }
    return false;
  }

  bool IsDrained(const Unit& unit) {
    absl::Time since = absl::InfinitePast();
    for (const ObservedPod* pod : unit.pods) {
      if (told_.count(pod->name) == 0) return false;
      since = std::max(since, SinceOf(pod->name));
    }
    if (unit.group != nullptr && !unit.group->draining()) return false;
    const absl::Time due = since + (IsEmpty(unit) ? std::min(kDrainSettles, drain_time_) : drain_time_);
    if (due <= now_) return true;
    plan_.look_again_in = std::min(plan_.look_again_in, due - now_);
    return false;
  }

  // A head that was restarted may not know a group yet, nor its load; its workers' readiness shows that it serves.
  bool IsEmpty(const Unit& unit) const {
    if (unit.group == nullptr) return !unit.may_serve;
    if (IsListedByRouter(*table_, unit.group->group_id())) return false;
    return unit.group->state() == v1::GROUP_STATE_READY ? unit.load == 0 : !unit.may_serve;
  }

  const Observed& observed_;
  const v1::ClusterTable* table_;
  const absl::Duration drain_time_;
  const absl::Time now_;
  std::map<std::string, absl::Time> told_;
  DrainPlan plan_;
};

}  // namespace

std::set<std::string> ToldToDrain(const Observed& observed) {
  std::set<std::string> told;
  for (const v1::Draining& draining : observed.cluster.status.draining()) told.insert(draining.pod());
  return told;
}

DrainPlan PlanDrain(const Observed& observed, const std::vector<const Unit*>& leaving, absl::Duration drain_time,
                    absl::Time now) {
  return DrainPlanner(observed, drain_time, now).Plan(leaving);
}

}  // namespace slmmesh
