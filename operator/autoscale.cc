#include "operator/autoscale.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace slmmesh {
namespace {

constexpr uint32_t kTargetQueueMs = 200;
constexpr double kTargetKvUtilization = 0.8;
constexpr double kTargetSeats = 0.9;
constexpr uint32_t kScaleUpAfterSeconds = 5;
constexpr uint32_t kScaleDownAfterSeconds = 300;
// Fewer groups must be able to carry the load with so much to spare, or the number would swing.
constexpr double kShareAfterScaleDown = 0.7;

class Scaler {
 public:
  Scaler(const ScaleInput& input, absl::Time now)
      : input_(input), now_(now), load_(SumOf(input.loads)), serving_(static_cast<uint32_t>(input.loads.size())) {
    decision_.groups = std::clamp(input.groups, input.min_groups, std::max(input.min_groups, input.max_groups));
  }

  ScaleDecision Decide() {
    if (decision_.groups != input_.groups) decision_.reason = "minReplicas and maxReplicas allow no other number";
    if (decision_.groups == 0) {
      FromZero();
    } else if (input_.is_known && serving_ > 0) {
      ToZero();
      if (decision_.groups > 0) Up();
      if (decision_.groups > 0) Down();
    }
    return std::move(decision_);
  }

 private:
  void FromZero() {
    if (!input_.is_asked_for || input_.max_groups == 0) return;
    Change(1, "requests wait and no group is there");
  }

  void ToZero() {
    const uint32_t after_seconds = input_.targets.scale_to_zero_after_seconds();
    const bool is_idle = input_.is_idle && load_.running + load_.waiting == 0;
    if (input_.min_groups > 0 || after_seconds == 0 || !is_idle) return;
    if (!HasLasted(input_.memory.idle_since(), absl::Seconds(after_seconds), &decision_.idle_since)) return;
    Change(0, absl::StrFormat("idle for %d s", after_seconds));
  }

  void Up() {
    const auto [share, why] = Pressure();
    if (share <= 1) return;
    const uint32_t after_seconds =
        input_.targets.has_scale_up_after_seconds() ? input_.targets.scale_up_after_seconds() : kScaleUpAfterSeconds;
    if (!HasLasted(input_.memory.above_since(), absl::Seconds(after_seconds), &decision_.above_since)) return;
    // At most twice as many at a time: a queue's wait says that it is too long, not how many groups would end it.
    const double needed = std::min(std::ceil(serving_ * share), 2.0 * serving_);
    const uint32_t groups = std::min(static_cast<uint32_t>(needed), input_.max_groups);
    if (groups > decision_.groups) Change(groups, why);
  }

  void Down() {
    if (!decision_.above_since.empty()) return;
    const double needed = std::ceil(serving_ * Pressure().first / kShareAfterScaleDown);
    const uint32_t least = std::max(input_.min_groups, 1u);
    if (std::max(needed, static_cast<double>(least)) >= decision_.groups) return;
    const uint32_t after_seconds = input_.targets.has_scale_down_after_seconds()
                                       ? input_.targets.scale_down_after_seconds()
                                       : kScaleDownAfterSeconds;
    if (!HasLasted(input_.memory.below_since(), absl::Seconds(after_seconds), &decision_.below_since)) return;
    const uint32_t half = (decision_.groups + 1) / 2;
    const uint32_t groups = std::max({static_cast<uint32_t>(needed), half, least});
    Change(groups, absl::StrFormat("%d groups can carry the load, for %d s now", groups, after_seconds));
  }

  // Load as a share of its target, by what is nearest to its own; above 1 there is too much.
  std::pair<double, std::string> Pressure() const {
    const double target_queue_seconds =
        (input_.targets.has_target_queue_milliseconds() ? std::max(input_.targets.target_queue_milliseconds(), 1u)
                                                        : kTargetQueueMs) /
        1000.0;
    const double target_kv =
        input_.targets.has_target_kv_utilization() ? input_.targets.target_kv_utilization() : kTargetKvUtilization;
    std::pair<double, std::string> most = {load_.queue_seconds / target_queue_seconds,
                                           absl::StrFormat("a new request would wait %.1f s, the target is %.1f s",
                                                           load_.queue_seconds, target_queue_seconds)};
    if (const double share = load_.kv_utilization / std::max(target_kv, 0.01); share > most.first) {
      most = {share, absl::StrFormat("%.0f %% of the KV blocks are in use, the target is %.0f %%",
                                     load_.kv_utilization * 100, target_kv * 100)};
    }
    if (const double share = load_.seats_used / kTargetSeats; share > most.first) {
      most = {share, absl::StrFormat("%d requests run and %d wait, %.0f %% of what can run at once", load_.running,
                                     load_.waiting, load_.seats_used * 100)};
    }
    return most;
  }

  bool HasLasted(const std::string& remembered, absl::Duration long_enough, std::string* since) {
    absl::Time start = TimeFromText(remembered, now_);
    if (start == absl::InfinitePast()) start = now_;
    *since = TimeText(start);
    if (now_ - start >= long_enough) return true;
    decision_.look_again_in = std::min(decision_.look_again_in, start + long_enough - now_);
    return false;
  }

  void Change(uint32_t groups, const std::string& reason) {
    decision_.reason = absl::StrFormat("from %d to %d groups: %s", input_.groups, groups, reason);
    decision_.groups = groups;
    decision_.above_since = decision_.below_since = decision_.idle_since = "";  // each decision has its own time
    decision_.look_again_in = absl::ZeroDuration();
  }

  const ScaleInput& input_;
  const absl::Time now_;
  const LoadSum load_;
  const uint32_t serving_;
  ScaleDecision decision_;
};

}  // namespace

ScaleDecision DecideScale(const ScaleInput& input, absl::Time now) { return Scaler(input, now).Decide(); }

LoadSum SumOf(const std::vector<v1::LoadReport>& loads) {
  LoadSum sum;
  double blocks = 0, blocks_used = 0, seats = 0, prompt_tokens = 0, prefill_rate = 0;
  for (const v1::LoadReport& load : loads) {
    sum.running += load.running();
    sum.waiting += load.waiting();
    sum.tokens_per_second += load.decode_tokens_per_second();
    blocks += load.kv_blocks_total();
    blocks_used += load.kv_blocks_used();
    seats += load.max_running();
    prompt_tokens += load.waiting_prompt_tokens();
    prefill_rate += load.prefill_tokens_per_second();
  }
  if (blocks > 0) sum.kv_utilization = blocks_used / blocks;
  if (seats > 0) sum.seats_used = (sum.running + sum.waiting) / seats;
  if (prefill_rate > 0) sum.queue_seconds = prompt_tokens / prefill_rate;
  return sum;
}

std::string TimeText(absl::Time time) {
  return time == absl::InfinitePast() ? "" : absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", time, absl::UTCTimeZone());
}

absl::Time TimeFromText(const std::string& text, absl::Time now) {
  absl::Time time;
  std::string error;
  if (text.empty() || !absl::ParseTime(absl::RFC3339_full, text, &time, &error)) return absl::InfinitePast();
  return std::min(time, now);
}

}  // namespace slmmesh
