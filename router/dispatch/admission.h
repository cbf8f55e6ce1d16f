// Whether a request may wait: queues are bounded, and one that would wait past its deadline is refused at once. Pure.
#pragma once

#include <cstdint>

#include "absl/status/status.h"

namespace slmmesh {

// What is known of a group's queue: its last load report and what was sent since.
struct GroupQueue {
  uint32_t requests = 0;                 // running, waiting and on their way
  uint32_t max_running = 0;              // 0: unknown
  uint64_t waiting_prompt_tokens = 0;    // on their way included
  double prefill_tokens_per_second = 0;  // 0: unknown
  double service_seconds = 0;            // how long a request holds its place, smoothed; 0: unknown
};

// Seconds until a request sent now would be scheduled; 0 where nothing is known.
double EstimateWaitSeconds(const GroupQueue& queue);

struct QueueLimits {
  uint32_t max_queue = 2048;  // requests without a first token, over all models
  uint32_t max_queue_per_model = 1024;
};
struct QueueLengths {
  uint32_t all = 0;
  uint32_t of_model = 0;
};

// RESOURCE_EXHAUSTED with Retry-After, or OK.
absl::Status Admit(const QueueLimits& limits, const QueueLengths& lengths, double wait_seconds,
                   double seconds_to_deadline);

}  // namespace slmmesh
