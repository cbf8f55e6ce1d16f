// How many guesses a step should make: as many as give the most tokens a second, by what guesses cost and how often
// they are right. No clock, no randomness: the same notes give the same choices. Under the coupled rule a request's text
// does not depend on them.
#pragma once

#include <cstdint>

#include "worker/engine/acceptance.h"
#include "worker/engine/step_cost.h"

namespace slmmesh {

// Not thread-safe.
class DepthPolicy {
 public:
  explicit DepthPolicy(uint32_t max_depth) : max_depth_(max_depth) {}

  // A run of the draft over `tokens` tokens, sampling included. Never called: guesses are free.
  void NoteDraft(uint32_t tokens, double seconds) { draft_cost_.Note(tokens, seconds); }
  // A run of the target over the tokens and guesses of running streams alone, sampling included.
  void NoteVerification(uint32_t tokens, double seconds) { verify_cost_.Note(tokens, seconds); }
  void NoteVerified(uint32_t drafted, uint32_t accepted, Acceptance* stream) {
    stream->Note(drafted, accepted);
    all_.Note(drafted, accepted);
  }

  // The best depth for a stream among `streams` that decode in this step.
  uint32_t Choose(const Acceptance& stream, uint32_t streams) const;

  // What does not pay must be tried now and then, since it may pay by now: true when this step should go one deeper
  // than Choose says, `depth` being the least that it said. Such tries may cost kTrialShare of the time.
  bool TakeTrial(uint32_t depth, uint32_t streams);
  // After each step: time has passed.
  void NoteStep(double seconds) { trial_seconds_ += kTrialShare * seconds; }

 private:
  static constexpr double kTrialShare = 0.01;
  static constexpr double kWorthwhile = 1.02;  // a gain below is within what measurements err

  double StepSeconds(uint32_t depth, uint32_t streams) const;

  uint32_t max_depth_;
  StepCost draft_cost_, verify_cost_;
  Acceptance all_;             // of all streams: what is believed of a new one
  double trial_seconds_ = 0;  // that trials may take
};

}  // namespace slmmesh
