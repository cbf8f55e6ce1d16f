#include "head/group_planner.h"

#include <algorithm>
#include <iterator>
#include <set>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "head/group_state.h"

namespace slmmesh {
namespace {

// Members of one pool can sit in one group.
struct Pool {
  std::string worker_group, model_key, revision;
  size_t size = 0;
  std::tuple<const std::string&, const std::string&, const std::string&, size_t> key() const {
    return {worker_group, model_key, revision, size};
  }
  bool operator==(const Pool& other) const { return key() == other.key(); }
  bool operator<(const Pool& other) const { return key() < other.key(); }
};

Pool PoolOf(const Member& member) {
  const v1::Offer& offer = member.offer;
  return {offer.worker_group(), offer.model_key(), offer.revision(), offer.tensor_parallel_size()};
}

Pool PoolOf(const GroupPlan& group) {
  return {group.worker_group, group.model_key, group.revision, group.seats.size()};
}

size_t VacanciesOf(const GroupPlan& group) {
  return static_cast<size_t>(
      std::count_if(group.seats.begin(), group.seats.end(), [](const Seat& seat) { return seat.vacant(); }));
}

absl::Duration RetryDelay(uint32_t failures) {
  return std::min(kFirstRetryDelay * (int64_t{1} << std::min(failures, 16u)), kLongestRetryDelay);
}

// One planning round. The steps run in the order in which Run() lists them; each sees what the ones before it did.
class Planner {
 public:
  Planner(Plan plan, const Members& members, const PlannerRules& rules, absl::Time now)
      : plan_(std::move(plan)), members_(members), rules_(rules), now_(now) {}

  Plan Run() {
    VacateSeatsOfTheGone();
    SeatThoseWhoHoldOne();
    NoteDraining();
    VacateSeatsOfTheDraining();
    NoteTimes();
    RetryFailedGroups();
    if (rules_.may_form) {
      FillVacancies();
      DissolveWhatCannotBeFilled();
      FillVacancies();  // with those whom that set free
      FormGroups();
    }
    return std::move(plan_);
  }

 private:
  void VacateSeatsOfTheGone() {
    for (auto& [group_id, group] : plan_.groups) {
      for (Seat& seat : group.seats) {
        const auto member = members_.find(seat.worker_id);
        const bool sits = member != members_.end() && member->second.offer.incarnation() == seat.incarnation &&
                          PoolOf(member->second) == PoolOf(group);
        if (sits) {
          seated_.insert(seat.worker_id);
        } else {
          seat.incarnation = 0;
        }
      }
    }
  }

  // The newest epoch first: it decides what a group is that only its members remember.
  void SeatThoseWhoHoldOne() {
    std::vector<const Member*> claimants;
    for (const auto& [worker_id, member] : members_) {
      plan_.highest_epoch = std::max(plan_.highest_epoch, member.told.epoch());
      if (!member.told.group_id().empty() && seated_.count(worker_id) == 0) claimants.push_back(&member);
    }
    std::stable_sort(claimants.begin(), claimants.end(),
                     [](const Member* a, const Member* b) { return a->told.epoch() > b->told.epoch(); });
    for (const Member* claimant : claimants) SeatByClaim(*claimant);
  }

  void SeatByClaim(const Member& member) {
    const v1::GroupSeat& claim = member.told;
    if (claim.size() != member.offer.tensor_parallel_size() || claim.rank() >= claim.size() || claim.epoch() == 0) {
      return;
    }
    const bool of_earlier_head = plan_.first_own_epoch == 0 || claim.epoch() < plan_.first_own_epoch;
    auto found = plan_.groups.find(claim.group_id());
    if (found == plan_.groups.end()) {
      if (!of_earlier_head) return;
      found = plan_.groups.emplace(claim.group_id(), NewGroup(member)).first;
      found->second.epoch = claim.epoch();
    }
    GroupPlan& group = found->second;
    if (PoolOf(group) != PoolOf(member)) return;
    const bool group_of_earlier_head = plan_.first_own_epoch == 0 || group.epoch < plan_.first_own_epoch;
    if (claim.epoch() > group.epoch && of_earlier_head && group_of_earlier_head) {
      for (const Seat& seat : group.seats) seated_.erase(seat.worker_id);
      group = NewGroup(member);
      group.epoch = claim.epoch();
    }
    if (claim.epoch() == group.epoch && group.seats[claim.rank()].vacant()) Sit(group, claim.rank(), member);
  }

  void NoteDraining() {
    for (auto& [group_id, group] : plan_.groups) {
      for (Seat& seat : group.seats) {
        if (!seat.vacant()) seat.draining = members_.at(seat.worker_id).draining;
      }
    }
  }

  // Where the epoch is over anyway. A group that all have left is no more.
  void VacateSeatsOfTheDraining() {
    for (auto it = plan_.groups.begin(); it != plan_.groups.end();) {
      auto& [group_id, group] = *it;
      const bool is_over = VacanciesOf(group) > 0 || ConditionOf(group_id, group, members_).failed;
      for (Seat& seat : group.seats) {
        if (!is_over || !seat.draining || seat.vacant()) continue;
        seat.incarnation = 0;
        seated_.erase(seat.worker_id);
      }
      const bool all_left = std::all_of(group.seats.begin(), group.seats.end(),
                                        [](const Seat& seat) { return seat.vacant() && seat.draining; });
      it = all_left ? plan_.groups.erase(it) : std::next(it);
    }
  }

  void NoteTimes() {
    for (auto& [group_id, group] : plan_.groups) {
      const GroupCondition condition = ConditionOf(group_id, group, members_);
      Note(&group.vacant_since, VacanciesOf(group) > 0);
      Note(&group.ready_since, condition.state == v1::GROUP_STATE_READY);
      if (group.ready_since + kReadyForgivesFailures <= now_) group.failures = 0;
      if (!condition.failed) {
        group.retry_at = absl::InfiniteFuture();
      } else if (group.retry_at == absl::InfiniteFuture()) {
        group.retry_at = now_ + RetryDelay(group.failures);
      }
    }
  }

  void Note(absl::Time* since, bool is_so) const {
    if (!is_so) {
      *since = absl::InfiniteFuture();
    } else if (*since == absl::InfiniteFuture()) {
      *since = now_;
    }
  }

  // Not while a rank's stream is cut: it may be the one that died.
  void RetryFailedGroups() {
    for (auto& [group_id, group] : plan_.groups) {
      if (group.retry_at > now_ || !AllConnected(group)) continue;
      group.failures++;
      BeginEpoch(group);
    }
  }

  bool AllConnected(const GroupPlan& group) const {
    return std::all_of(group.seats.begin(), group.seats.end(),
                       [this](const Seat& seat) { return !seat.vacant() && members_.at(seat.worker_id).connected; });
  }

  // A group that has waited long enough ends when nobody is left in it, or when its survivors can help another one.
  void DissolveWhatCannotBeFilled() {
    std::map<Pool, std::vector<std::string>> waiting;
    for (const auto& [group_id, group] : plan_.groups) {
      if (group.vacant_since + rules_.replacement_wait <= now_) waiting[PoolOf(group)].push_back(group_id);
    }
    for (auto& [pool, group_ids] : waiting) {
      size_t spares = IdleOf(pool).size();
      std::stable_sort(group_ids.begin(), group_ids.end(), [this](const std::string& a, const std::string& b) {
        return VacanciesOf(plan_.groups.at(a)) < VacanciesOf(plan_.groups.at(b));
      });
      // Those with the most survivors stay; from the back, each gives up what the front one still lacks.
      const size_t lacking = VacanciesOf(plan_.groups.at(group_ids.front()));
      while (!group_ids.empty()) {
        const GroupPlan& last = plan_.groups.at(group_ids.back());
        const size_t survivors = last.seats.size() - VacanciesOf(last);
        const bool helps = group_ids.size() > 1 && spares < lacking && SparesInReach(group_ids, spares) >= lacking;
        if (survivors > 0 && !helps) break;
        spares += survivors;
        Dissolve(group_ids.back());
        group_ids.pop_back();
      }
    }
  }

  // Idle members, and those of all the waiting groups but the first.
  size_t SparesInReach(const std::vector<std::string>& group_ids, size_t spares) const {
    for (size_t i = 1; i < group_ids.size(); ++i) {
      const GroupPlan& group = plan_.groups.at(group_ids[i]);
      spares += group.seats.size() - VacanciesOf(group);
    }
    return spares;
  }

  void Dissolve(const std::string& group_id) {
    for (const Seat& seat : plan_.groups.at(group_id).seats) {
      if (!seat.vacant()) seated_.erase(seat.worker_id);
    }
    plan_.groups.erase(group_id);
  }

  // All vacancies of a group or none, the fewest first: a half-filled group would only hold members back.
  void FillVacancies() {
    std::vector<std::pair<size_t, std::string>> broken;
    for (const auto& [group_id, group] : plan_.groups) {
      if (const size_t vacancies = VacanciesOf(group); vacancies > 0) broken.emplace_back(vacancies, group_id);
    }
    std::sort(broken.begin(), broken.end());
    for (const auto& [vacancies, group_id] : broken) {
      GroupPlan& group = plan_.groups.at(group_id);
      if (IdleOf(PoolOf(group)).size() < vacancies || !SurvivorsConnected(group)) continue;
      for (uint32_t rank = 0; rank < group.seats.size(); ++rank) {
        if (group.seats[rank].vacant()) TakeBack(group, rank);
      }
      for (uint32_t rank = 0; rank < group.seats.size(); ++rank) {
        if (group.seats[rank].vacant()) Sit(group, rank, *NearestIdle(group));
      }
      BeginEpoch(group);
    }
  }

  // A new epoch with a rank whose stream is cut would likely be lost at once; it returns or is gone in a moment.
  bool SurvivorsConnected(const GroupPlan& group) const {
    return std::all_of(group.seats.begin(), group.seats.end(),
                       [this](const Seat& seat) { return seat.vacant() || members_.at(seat.worker_id).connected; });
  }

  // Who sat there before takes the seat again, if idle.
  void TakeBack(GroupPlan& group, uint32_t rank) {
    for (const Member* member : IdleOf(PoolOf(group))) {
      if (member->offer.worker_id() == group.seats[rank].worker_id) Sit(group, rank, *member);
    }
  }

  const Member* NearestIdle(const GroupPlan& group) const {
    const std::vector<const Member*> idle = IdleOf(PoolOf(group));
    const auto neighbours = [this, &group](const Member* candidate) {
      return std::count_if(group.seats.begin(), group.seats.end(), [this, candidate](const Seat& seat) {
        return !seat.vacant() && members_.at(seat.worker_id).offer.host_id() == candidate->offer.host_id();
      });
    };
    return *std::max_element(idle.begin(), idle.end(),
                             [&neighbours](const Member* a, const Member* b) { return neighbours(a) < neighbours(b); });
  }

  void FormGroups() {
    std::set<Pool> pools;
    for (const auto& [worker_id, member] : members_) {
      if (IsIdle(member)) pools.insert(PoolOf(member));
    }
    for (const Pool& pool : pools) {
      const size_t kept = SoonNeeded(pool);
      for (std::vector<const Member*> idle = IdleOf(pool); idle.size() >= pool.size + kept; idle = IdleOf(pool)) {
        FormGroup(ChooseTogether(idle, pool.size));
      }
    }
  }

  // To replace those who drain beside others who stay: these keep their weights, so that is quicker than a new group.
  size_t SoonNeeded(const Pool& pool) const {
    size_t needed = 0;
    for (const auto& [group_id, group] : plan_.groups) {
      if (!(PoolOf(group) == pool)) continue;
      const auto draining = static_cast<size_t>(
          std::count_if(group.seats.begin(), group.seats.end(), [](const Seat& seat) { return seat.draining; }));
      if (draining < group.seats.size()) needed += draining;
    }
    return needed;
  }

  // The hosts with the most idle members first; ranks in the order of names.
  static std::vector<const Member*> ChooseTogether(const std::vector<const Member*>& idle, size_t size) {
    std::map<std::string, size_t> per_host;
    for (const Member* member : idle) per_host[member->offer.host_id()]++;
    std::vector<const Member*> chosen = idle;
    std::stable_sort(chosen.begin(), chosen.end(), [&per_host](const Member* a, const Member* b) {
      const std::string& host_a = a->offer.host_id();
      const std::string& host_b = b->offer.host_id();
      const size_t count_a = per_host.at(host_a);
      const size_t count_b = per_host.at(host_b);
      return count_a != count_b ? count_a > count_b : host_a < host_b;
    });
    chosen.resize(size);
    std::sort(chosen.begin(), chosen.end(),
              [](const Member* a, const Member* b) { return a->offer.worker_id() < b->offer.worker_id(); });
    return chosen;
  }

  void FormGroup(const std::vector<const Member*>& chosen) {
    GroupPlan group = NewGroup(*chosen[0]);
    for (uint32_t rank = 0; rank < chosen.size(); ++rank) Sit(group, rank, *chosen[rank]);
    BeginEpoch(group);
    plan_.groups.emplace(FreeGroupId(group.worker_group), std::move(group));
  }

  std::string FreeGroupId(const std::string& worker_group) const {
    for (size_t i = 0;; ++i) {  // ends: there are finitely many groups
      const std::string group_id = absl::StrCat(worker_group, "-", i);
      if (plan_.groups.count(group_id) == 0) return group_id;
    }
  }

  static GroupPlan NewGroup(const Member& member) {
    GroupPlan group;
    group.worker_group = member.offer.worker_group();
    group.model_key = member.offer.model_key();
    group.revision = member.offer.revision();
    group.seats.resize(member.offer.tensor_parallel_size());
    return group;
  }

  void Sit(GroupPlan& group, uint32_t rank, const Member& member) {
    group.seats[rank] = {member.offer.worker_id(), member.offer.incarnation(), member.draining};
    seated_.insert(member.offer.worker_id());
  }

  void BeginEpoch(GroupPlan& group) {
    group.epoch = ++plan_.highest_epoch;
    if (plan_.first_own_epoch == 0) plan_.first_own_epoch = group.epoch;
    group.vacant_since = absl::InfiniteFuture();
    group.retry_at = absl::InfiniteFuture();
    group.ready_since = absl::InfiniteFuture();
  }

  bool IsIdle(const Member& member) const {
    return member.connected && !member.draining && seated_.count(member.offer.worker_id()) == 0;
  }

  std::vector<const Member*> IdleOf(const Pool& pool) const {
    std::vector<const Member*> idle;
    for (const auto& [worker_id, member] : members_) {
      if (IsIdle(member) && PoolOf(member) == pool) idle.push_back(&member);
    }
    return idle;
  }

  Plan plan_;
  const Members& members_;
  const PlannerRules& rules_;
  const absl::Time now_;
  std::set<std::string> seated_;
};

}  // namespace

bool Command::operator==(const Command& other) const {
  return worker_id == other.worker_id && SameSeat(seat, other.seat) && drain == other.drain;
}

Plan PlanGroups(Plan previous, const Members& members, const PlannerRules& rules, absl::Time now) {
  return Planner(std::move(previous), members, rules, now).Run();
}

namespace {

// Rank 0 has to end the epoch: another rank leaves, and only rank 0 knows when nothing runs. It learns that of itself.
bool MustEnd(const std::string& group_id, const GroupPlan& group, const Members& members) {
  if (ConditionOf(group_id, group, members).state != v1::GROUP_STATE_READY) return false;
  const Member& leader = members.at(group.seats[0].worker_id);
  if (leader.status.leaving() || leader.drained_epoch == group.epoch) return false;
  return std::any_of(group.seats.begin(), group.seats.end(),
                     [&members](const Seat& seat) { return members.at(seat.worker_id).status.leaving(); });
}

}  // namespace

std::vector<Command> CommandsFor(const Plan& plan, const Members& members) {
  std::map<std::string, v1::GroupSeat> seats;
  std::set<std::string> waiting;  // their group lacks a rank: the next epoch's seat comes when it is filled
  for (const auto& [group_id, group] : plan.groups) {
    for (uint32_t rank = 0; rank < group.seats.size(); ++rank) {
      if (group.seats[rank].vacant()) continue;
      seats[group.seats[rank].worker_id] = SeatOf(group_id, group, rank);
      if (VacanciesOf(group) > 0) waiting.insert(group.seats[rank].worker_id);
    }
  }
  std::vector<Command> commands;
  for (const auto& [worker_id, member] : members) {
    if (!member.connected || waiting.count(worker_id) > 0) continue;
    if (!SameSeat(seats[worker_id], member.told)) commands.push_back({worker_id, seats[worker_id]});
  }
  for (const auto& [group_id, group] : plan.groups) {
    if (!MustEnd(group_id, group, members)) continue;
    const std::string& leader = group.seats[0].worker_id;
    if (members.at(leader).connected) commands.push_back({leader, SeatOf(group_id, group, 0), /*drain=*/true});
  }
  return commands;
}

}  // namespace slmmesh
