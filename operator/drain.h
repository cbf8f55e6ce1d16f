// Pods on their way out of service: the head is told, the routers send their groups nothing new, and when the last
// answer is out, or the time for it is over, they may be deleted. status.draining holds what the head was told last and
// since when. Pure.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "operator/observed.h"
#include "operator/unit.h"

namespace slmmesh {

// A table and a load report may be so old: before, a group that looks empty may have been given a last request.
constexpr absl::Duration kDrainSettles = absl::Seconds(3);

// What the head was told last, or shows that it was told.
std::set<std::string> ToldToDrain(const Observed& observed);

struct DrainPlan {
  std::vector<v1::Draining> draining;  // for the status
  bool must_tell = false;              // the head knows another list
  std::vector<bool> is_drained;        // by unit: its pods may be deleted
  absl::Duration look_again_in = absl::InfiniteDuration();
};

// `leaving`: worker units that are to go. Without a table nothing is told and nothing is drained.
DrainPlan PlanDrain(const Observed& observed, const std::vector<const Unit*>& leaving, absl::Duration drain_time,
                    absl::Time now);

}  // namespace slmmesh
