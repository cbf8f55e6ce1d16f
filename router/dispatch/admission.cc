#include "router/dispatch/admission.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "router/openai/api_error.h"

namespace slmmesh {
namespace {

absl::Status Busy(const std::string& message, double retry_after_seconds) {
  const int seconds = static_cast<int>(std::clamp(std::ceil(retry_after_seconds), 1.0, 300.0));
  return WithRetryAfter(absl::ResourceExhaustedError(message), seconds);
}

}  // namespace

double EstimateWaitSeconds(const GroupQueue& queue) {
  double prefill = 0;
  if (queue.prefill_tokens_per_second > 0) {
    prefill = static_cast<double>(queue.waiting_prompt_tokens) / queue.prefill_tokens_per_second;
  }
  double place = 0;
  if (queue.max_running > 0 && queue.requests >= queue.max_running) {
    place = (queue.requests - queue.max_running + 1) * queue.service_seconds / queue.max_running;
  }
  return std::max(prefill, place);
}

absl::Status Admit(const QueueLimits& limits, const QueueLengths& lengths, double wait_seconds,
                   double seconds_to_deadline) {
  if (lengths.all >= limits.max_queue || lengths.of_model >= limits.max_queue_per_model) {
    return Busy(absl::StrCat("the queue is full (", lengths.of_model, " requests wait for this model, ", lengths.all,
                             " in all); try again later"),
                wait_seconds);
  }
  if (wait_seconds > seconds_to_deadline) {
    return Busy(absl::StrFormat("the queue's wait, about %.1f s, is longer than this request's time, %.1f s; try again "
                                "later",
                                wait_seconds, seconds_to_deadline),
                wait_seconds - seconds_to_deadline);
  }
  return absl::OkStatus();
}

}  // namespace slmmesh
