// What a group is doing, read off its seats and what their holders report. Pure.
#pragma once

#include <string>

#include "head/group_planner.h"

namespace slmmesh {

struct GroupCondition {
  v1::GroupState state = v1::GROUP_STATE_UNSPECIFIED;
  std::string message;  // why it is not ready, in plain words
  bool failed = false;  // all seats are taken, but a rank says that this epoch broke
};

v1::GroupSeat SeatOf(const std::string& group_id, const GroupPlan& group, uint32_t rank);
bool SameSeat(const v1::GroupSeat& a, const v1::GroupSeat& b);
GroupCondition ConditionOf(const std::string& group_id, const GroupPlan& group, const Members& members);
// As routers and people see it.
v1::Group DescribeGroup(const std::string& group_id, const GroupPlan& group, const Members& members);

}  // namespace slmmesh
