// How many guesses a step should make: as many as give the most tokens a second, by what guesses cost and how often
// they are right. No clock, no randomness: the same notes give the same choices. Under the coupled rule a request's
// text does not depend on them.
#pragma once

#include <cstdint>
#include <vector>

#include "worker/engine/acceptance.h"
#include "worker/engine/step_cost.h"

namespace slmmesh {

// Not thread-safe.
class DepthPolicy {
 public:
  explicit DepthPolicy(uint32_t max_depth) : max_depth_(max_depth), step_seconds_(max_depth + 1) {}

  // A run of the draft over `tokens` tokens, sampling included. Never called: guesses are free.
  void NoteDraft(uint32_t tokens, double seconds) { draft_cost_.Note(tokens, seconds); }
  // A run of the target over so many tokens and guesses of running streams, sampling included; `has_prompts`: and over
  // prompts, whose part of the time the next step is expected to take, too.
  void NoteVerification(uint32_t tokens, bool has_prompts, double seconds);
  void NoteVerified(uint32_t drafted, uint32_t accepted, Acceptance* stream) {
    stream->Note(drafted, accepted);
    all_.Note(drafted, accepted);
  }

  // Before a step in which `streams` streams decode.
  void BeginStep(uint32_t streams);
  // The best depth for one of them.
  uint32_t Choose(const Acceptance& stream) const;

  // What does not pay must be tried now and then, since it may pay by now: true when this step should go one deeper
  // than Choose says, `depth` being the least that it said. Such tries may cost kTrialShare of the time.
  bool TakeTrial(uint32_t depth);
  // After each step, which took `seconds`, guessing `draft_seconds` of them.
  void NoteStep(double seconds, double draft_seconds);

 private:
  static constexpr double kTrialShare = 0.01;
  static constexpr double kWorthwhile = 1.02;  // a gain below is within what measurements err

  uint32_t max_depth_;
  StepCost draft_cost_, verify_cost_;
  std::vector<double> step_seconds_;   // [max_depth + 1], of this step if all streams choose that depth
  double prompt_seconds_ = 0;          // of the last step
  Acceptance all_;                     // of all streams: what is believed of a new one
  double trial_seconds_ = 0;           // that trials may take
  bool is_first_guess_tried_ = false;  // in this step
};

}  // namespace slmmesh
