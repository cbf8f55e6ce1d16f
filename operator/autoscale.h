// How many serving groups a worker group should have, from the load that its groups report. Pure: what has to be
// remembered (since when the load is high, low or nil) is in the status.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "slmmesh/v1/cluster.pb.h"
#include "slmmesh/v1/worker.pb.h"

namespace slmmesh {

struct ScaleInput {
  v1::AutoscalingSpec targets;
  uint32_t groups = 0;  // wanted so far
  uint32_t min_groups = 0;
  uint32_t max_groups = 0;
  bool is_known = false;              // the head answers
  std::vector<v1::LoadReport> loads;  // of the groups that serve
  bool is_asked_for = false;          // requests wait at a router while no group serves
  bool is_idle = false;               // no router has a request
  v1::WorkerGroupStatus memory;       // above_since, below_since, idle_since
};

struct ScaleDecision {
  uint32_t groups = 0;
  std::string reason;  // in plain words; empty: no change
  std::string above_since, below_since, idle_since;
  absl::Duration look_again_in = absl::InfiniteDuration();
};

ScaleDecision DecideScale(const ScaleInput& input, absl::Time now);

// Of the whole worker group.
struct LoadSum {
  uint32_t running = 0;
  uint32_t waiting = 0;
  double kv_utilization = 0;  // 0..1
  double queue_seconds = 0;   // estimated wait of a new request
  double seats_used = 0;      // requests / those that can run at once
  double tokens_per_second = 0;
};
LoadSum SumOf(const std::vector<v1::LoadReport>& loads);

// Times in the status: RFC 3339 in UTC, empty for none.
std::string TimeText(absl::Time time);
// InfinitePast for empty or unreadable text; never later than `now`, so that a clock set back does not stop the world.
absl::Time TimeFromText(const std::string& text, absl::Time now);

}  // namespace slmmesh
