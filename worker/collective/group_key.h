// Who belongs to one epoch of one group, and the name by which its ranks find each other.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace slmmesh {

struct GroupMember {
  std::string host_id;            // equal: shared memory works between the two
  std::string exchange_endpoint;  // host:port of its ExchangeListener
  uint64_t incarnation = 0;       // random per process start
};

// What every transport needs to know to join an epoch as `rank`.
struct GroupJoin {
  std::string group_id;
  uint64_t epoch = 0;
  int rank = 0;
  std::vector<GroupMember> members;  // by rank, this one included: 1, 2, 4 or 8
  absl::Duration join_timeout;       // until all ranks are there
  absl::Duration operation_timeout;  // of one collective; Broadcast's followers bring their own
  std::function<bool()> cancelled;   // polled while waiting for the others; may be null

  int size() const { return static_cast<int>(members.size()); }
  bool IsCancelled() const { return cancelled && cancelled(); }
};

// 64 hex characters, equal on all ranks of one epoch and guessable by nobody else: the incarnations are the nonce.
std::string GroupKey(const GroupJoin& join);

}  // namespace slmmesh
