// Who sits where. A pure function decides everything: from the live members, the groups so far and the time, to the
// groups as they should be. What a member is told follows by comparison with what it was told before.
//
// - Idle members of one pool (worker group, model, size, revision) form groups; members on one host go together where
// possible.
// - A member that is gone leaves its seat vacant: the group is broken, its epoch is over. The others keep their seats.
//   Once every vacancy can be filled (first by who sat there before), all ranks get the group's next epoch.
// - A rank that says its epoch failed: the same members get a new epoch, later each time.
// - A member that drains gets no seat. The one it has it keeps until its group's epoch is over; it is replaced then.
//   Once one leaves (its process was told to stop), rank 0 is told to end the epoch when nothing runs.
// - A seat that a member holds without this head having given it (the head restarted) is taken as it is.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "slmmesh/v1/head.pb.h"

namespace slmmesh {

// A worker process as the head sees it.
struct Member {
  v1::Offer offer;
  v1::WorkerStatus status;
  absl::Time last_seen;
  bool connected = true;  // false for the short while in which its stream may come back
  // The seat that it was last told to take, or that it came with. No group_id: none. What it has no right to hold is
  // taken back by a Release.
  v1::GroupSeat told;
  bool draining = false;       // the operator said so, or it leaves (status.leaving)
  uint64_t drained_epoch = 0;  // that it was last told to end, as rank 0
};
using Members = std::map<std::string, Member>;  // by worker_id

struct Seat {
  std::string worker_id;     // kept after its holder is gone: it may come back
  uint64_t incarnation = 0;  // of the holder; 0: vacant
  bool draining = false;     // the holder drains, or did until it was gone
  bool vacant() const { return incarnation == 0; }
};

// What the head remembers of a group; its state and leader follow from its members (group_state.h).
struct GroupPlan {
  std::string worker_group;
  std::string model_key;
  std::string revision;
  uint64_t epoch = 0;
  std::vector<Seat> seats;  // by rank
  // Times at which the present situation began or ends; InfiniteFuture: it is not so.
  absl::Time vacant_since = absl::InfiniteFuture();
  absl::Time retry_at = absl::InfiniteFuture();
  absl::Time ready_since = absl::InfiniteFuture();
  uint32_t failures = 0;  // in a row; decides how long the next retry waits
};
using Groups = std::map<std::string, GroupPlan>;  // by group_id

struct Plan {
  Groups groups;
  uint64_t highest_epoch = 0;    // given or seen: the next one is higher
  uint64_t first_own_epoch = 0;  // the first that this head gave; 0: none. Lower ones are an earlier head's
};

struct Command {
  std::string worker_id;
  v1::GroupSeat seat;  // to take; no group_id: give up what it holds
  bool drain = false;  // instead: end this seat's epoch once nothing runs
  bool operator==(const Command& other) const;
};

struct PlannerRules {
  bool may_form = true;  // false shortly after the head's start: who dials in may hold a seat already
  absl::Duration replacement_wait = absl::Seconds(30);  // then another broken group may take the survivors
};

constexpr absl::Duration kFirstRetryDelay = absl::Milliseconds(100);
constexpr absl::Duration kLongestRetryDelay = absl::Seconds(30);
constexpr absl::Duration kReadyForgivesFailures = absl::Seconds(30);

Plan PlanGroups(Plan previous, const Members& members, const PlannerRules& rules, absl::Time now);

// One command at most for each connected member: those whose seat in `plan` is not what they were told, and the leaders
// of groups that a member leaves.
std::vector<Command> CommandsFor(const Plan& plan, const Members& members);

}  // namespace slmmesh
