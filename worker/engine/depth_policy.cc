#include "worker/engine/depth_policy.h"

#include <algorithm>
#include <limits>

namespace slmmesh {

void DepthPolicy::NoteVerification(uint32_t tokens, bool has_prompts, double seconds) {
  if (!has_prompts) verify_cost_.Note(tokens, seconds);
  prompt_seconds_ = has_prompts ? std::max(0.0, seconds - verify_cost_.Of(tokens)) : 0;
}

// As if all streams chose the same depth.
void DepthPolicy::BeginStep(uint32_t streams) {
  draft_cost_.BeginStep();
  verify_cost_.BeginStep();
  const double draft_seconds = draft_cost_.Of(streams);
  for (uint32_t depth = 0; depth <= max_depth_; ++depth) {
    step_seconds_[depth] = depth * draft_seconds + verify_cost_.Of(streams * (depth + 1)) + prompt_seconds_;
  }
  is_plain_ = IsPlainStepDue(streams);
  is_trial_ = false;
  tokens_per_second_ = 0;
  guess_seconds_ = 0;
  if (step_seconds_[0] == 0) return;
  for (uint32_t depth = 0; depth <= max_depth_; ++depth) {
    tokens_per_second_ =
        std::max(tokens_per_second_, streams * all_.ExpectedTokens(depth, all_) / step_seconds_[depth]);
  }
  const double more_seconds = verify_cost_.Of(streams * (max_depth_ + 1)) - verify_cost_.Of(streams);
  guess_seconds_ = std::max(0.0, more_seconds) / (streams * max_depth_);
}

bool DepthPolicy::IsPlainStepDue(uint32_t streams) {
  if (step_seconds_[0] == 0 || (steps_to_plain_ > 0 && --steps_to_plain_ > 0)) return false;
  if (verify_cost_.StepsSince(streams) < kFresh) return false;
  steps_to_plain_ = kPlainEvery;
  return true;
}

// A token is worth the time in which the streams get one anyway.
double DepthPolicy::WorthOfGuess(const Acceptance& stream, double all_right) const {
  if (is_trial_ || tokens_per_second_ == 0) return std::numeric_limits<double>::infinity();
  return all_right * stream.Later(all_) / tokens_per_second_ - guess_seconds_;
}

void DepthPolicy::NoteVerified(uint32_t judged, uint32_t accepted, absl::Span<const float> leads, Acceptance* stream) {
  stream->Note(judged, accepted);
  all_.Note(judged, accepted);
  for (uint32_t i = 0; i < judged && i < leads.size(); ++i) confidence_.Note(leads[i], i < accepted);
}

uint32_t DepthPolicy::Choose(const Acceptance& stream) const {
  if (step_seconds_[0] == 0) return max_depth_;  // nothing was measured yet
  if (is_plain_) return 0;
  uint32_t best = 0;
  double best_rate = kWorthwhile / step_seconds_[0];
  for (uint32_t depth = 1; depth <= max_depth_; ++depth) {
    const double rate = stream.ExpectedTokens(depth, all_) / step_seconds_[depth];
    if (rate <= best_rate) continue;
    best = depth;
    best_rate = rate;
  }
  return best;
}

bool DepthPolicy::TakeTrial(uint32_t depth) {
  if (depth >= max_depth_ || is_plain_) return false;
  const double extra = std::max(0.0, step_seconds_[depth + 1] - step_seconds_[depth]);
  if (trial_seconds_ < extra) return false;
  trial_seconds_ = 0;  // not saved up: trials are spread over time
  is_trial_ = true;
  is_first_guess_tried_ = depth == 0;
  return true;
}

void DepthPolicy::NoteStep(double seconds, double draft_seconds) {
  trial_seconds_ += kTrialShare * seconds;
  // A draft that has not guessed for long catches up first, which costs more than a guess.
  if (is_first_guess_tried_) trial_seconds_ -= draft_seconds;
  is_first_guess_tried_ = false;
}

}  // namespace slmmesh
