#include "head/group_state.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace slmmesh {
namespace {

std::string PhaseName(v1::WorkerPhase phase) {
  return absl::AsciiStrToLower(absl::StripPrefix(v1::WorkerPhase_Name(phase), "WORKER_PHASE_"));
}

}  // namespace

v1::GroupSeat SeatOf(const std::string& group_id, const GroupPlan& group, uint32_t rank) {
  v1::GroupSeat seat;
  seat.set_group_id(group_id);
  seat.set_epoch(group.epoch);
  seat.set_rank(rank);
  seat.set_size(static_cast<uint32_t>(group.seats.size()));
  return seat;
}

bool SameSeat(const v1::GroupSeat& a, const v1::GroupSeat& b) {
  return a.group_id() == b.group_id() && a.epoch() == b.epoch() && a.rank() == b.rank() && a.size() == b.size();
}

GroupCondition ConditionOf(const std::string& group_id, const GroupPlan& group, const Members& members) {
  GroupCondition condition{v1::GROUP_STATE_READY, "", false};
  for (uint32_t rank = 0; rank < group.seats.size(); ++rank) {
    const Seat& seat = group.seats[rank];
    const std::string who = absl::StrCat("rank ", rank, " (", seat.worker_id, ")");
    if (seat.vacant()) {
      const std::string before = seat.worker_id.empty() ? "" : absl::StrCat(": ", seat.worker_id, " is gone");
      return {v1::GROUP_STATE_BROKEN, absl::StrCat("rank ", rank, " is vacant", before), false};
    }
    const v1::WorkerStatus& status = members.at(seat.worker_id).status;
    const bool speaks_of_it = SameSeat(status.seat(), SeatOf(group_id, group, rank));
    if (speaks_of_it && status.phase() == v1::WORKER_PHASE_FAILED) {
      condition = {v1::GROUP_STATE_BROKEN, absl::StrCat(who, " failed: ", status.message()), true};
    } else if (condition.state == v1::GROUP_STATE_READY &&
               (!speaks_of_it || status.phase() != v1::WORKER_PHASE_SERVING)) {
      const std::string doing = speaks_of_it ? PhaseName(status.phase()) : "taking its seat";
      condition = {v1::GROUP_STATE_FORMING, absl::StrCat(who, " is ", doing), false};
    }
  }
  return condition;
}

v1::Group DescribeGroup(const std::string& group_id, const GroupPlan& group, const Members& members) {
  const GroupCondition condition = ConditionOf(group_id, group, members);
  v1::Group described;
  described.set_group_id(group_id);
  described.set_epoch(group.epoch);
  described.set_worker_group(group.worker_group);
  described.set_model_key(group.model_key);
  described.set_revision(group.revision);
  described.set_draining(std::any_of(group.seats.begin(), group.seats.end(),
                                     [](const Seat& seat) { return seat.draining && !seat.vacant(); }));
  described.set_size(static_cast<uint32_t>(group.seats.size()));
  described.set_state(condition.state);
  described.set_message(condition.message);
  for (const Seat& seat : group.seats) described.add_worker_ids(seat.vacant() ? "" : seat.worker_id);
  if (!group.seats[0].vacant()) {
    const Member& leader = members.at(group.seats[0].worker_id);
    if (condition.state == v1::GROUP_STATE_READY) described.set_leader_endpoint(leader.offer.endpoint());
    if (leader.status.has_load()) *described.mutable_load() = leader.status.load();
  }
  return described;
}

}  // namespace slmmesh
