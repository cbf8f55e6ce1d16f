#include "operator/rollout.h"

#include <algorithm>
#include <tuple>

namespace slmmesh {
namespace {

class RolloutPlanner {
 public:
  RolloutPlanner(const std::vector<Unit>& units, const RolloutRules& rules)
      : units_(units), rules_(rules), floor_(FloorOf(rules)) {
    decision_.leaves.resize(units.size());
    for (const Unit& unit : units) {
      if (unit.is_routable && !unit.is_draining) ++serving_;
      if (IsProven(unit) && !unit.may_serve) ++could_serve_;
    }
  }

  RolloutDecision Decide() {
    RemoveOld();
    RemoveSurplus();
    decision_.proven_units = CountProven();
    decision_.wanted_units = CountWanted();
    return std::move(decision_);
  }

 private:
  bool IsProven(const Unit& unit) const { return !unit.is_wanted && unit.hash == rules_.proven_hash; }

  // What is lost with it is least: first what serves nothing, then what is on its way out, then what has least to do.
  std::vector<size_t> InOrderOfRemoval(bool of_wanted) const {
    std::vector<size_t> order;
    for (size_t i = 0; i < units_.size(); ++i) {
      if (units_[i].is_wanted == of_wanted) order.push_back(i);
    }
    const auto key = [this, of_wanted](size_t i) {
      const Unit& unit = units_[i];
      // Of what is wanted the newest goes first, of the rest the oldest.
      const int64_t age = of_wanted ? -static_cast<int64_t>(unit.pods.front()->slot) : unit.revision;
      return std::tuple(unit.may_serve, !unit.is_draining, unit.is_routable, unit.is_whole(), unit.load, age,
                        unit.pods.front()->name);
    };
    std::sort(order.begin(), order.end(), [&key](size_t a, size_t b) { return key(a) < key(b); });
    return order;
  }

  void RemoveOld() {
    for (const size_t i : InOrderOfRemoval(/*of_wanted=*/false)) {
      if (MayGo(units_[i])) Remove(i);
    }
  }

  bool MayGo(const Unit& unit) const {
    if (!unit.may_serve) return !IsProven(unit) || serving_ + could_serve_ > floor_;
    if (rules_.hold && !unit.is_draining) return false;
    return ServesWithout(unit);
  }

  bool ServesWithout(const Unit& unit) const {
    const uint32_t lost = unit.is_routable && !unit.is_draining ? 1 : 0;
    return serving_ >= floor_ + lost;
  }

  void Remove(size_t i) {
    const Unit& unit = units_[i];
    decision_.leaves[i] = true;
    if (unit.is_routable && !unit.is_draining) --serving_;
    if (!unit.may_serve && IsProven(unit)) --could_serve_;
  }

  // More of the wanted ones than wanted: some were added before the number was lowered, or pods without a seat are
  // left.
  void RemoveSurplus() {
    size_t kept = static_cast<size_t>(
        std::count_if(units_.begin(), units_.end(), [](const Unit& unit) { return unit.is_wanted; }));
    for (const size_t i : InOrderOfRemoval(/*of_wanted=*/true)) {
      if (kept <= rules_.wanted) break;
      if (units_[i].may_serve && !ServesWithout(units_[i])) continue;
      Remove(i);
      --kept;
    }
    kept_ = static_cast<uint32_t>(kept);
  }

  // Those that stay are made whole. If even then too few could serve, some are gone: they are made again.
  uint32_t CountProven() {
    if (rules_.proven_hash.empty() || floor_ == 0) return 0;
    uint32_t staying = 0, could_serve = 0;
    for (size_t i = 0; i < units_.size(); ++i) {
      if (decision_.leaves[i]) continue;
      if (IsProven(units_[i])) ++staying;
      if (IsProven(units_[i]) || units_[i].may_serve) ++could_serve;
    }
    lost_ = floor_ > could_serve ? floor_ - could_serve : 0;
    return staying + lost_;
  }

  uint32_t CountWanted() const {
    const uint32_t old = lost_ + static_cast<uint32_t>(std::count_if(units_.begin(), units_.end(),
                                                                     [](const Unit& unit) { return !unit.is_wanted; }));
    const uint32_t room = rules_.wanted + rules_.surge > old ? rules_.wanted + rules_.surge - old : 0;
    uint32_t count = std::min(rules_.wanted, std::max(kept_, room));
    if (rules_.is_frozen && old > 0) count = std::min(count, std::max(kept_, 1u));
    return count;
  }

  const std::vector<Unit>& units_;
  const RolloutRules& rules_;
  const uint32_t floor_;
  uint32_t serving_ = 0;      // routable and staying
  uint32_t could_serve_ = 0;  // proven ones, once made whole again
  uint32_t lost_ = 0;         // proven ones to be made again
  uint32_t kept_ = 0;         // of what is wanted
  RolloutDecision decision_;
};

}  // namespace

uint32_t FloorOf(const RolloutRules& rules) {
  const uint32_t unavailable = rules.surge == 0 ? std::max(rules.unavailable, 1u) : rules.unavailable;
  return rules.wanted > unavailable ? rules.wanted - unavailable : 0;
}

RolloutDecision DecideRollout(const std::vector<Unit>& units, const RolloutRules& rules) {
  return RolloutPlanner(units, rules).Decide();
}

}  // namespace slmmesh
