// How many guesses a step should make: as many as give the most tokens a second, by what guesses cost and how often
// they are right. No clock, no randomness: the same notes give the same choices. Under the coupled rule a request's
// text does not depend on them.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "worker/engine/acceptance.h"
#include "worker/engine/confidence.h"
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
  // The first `accepted` of `judged` guesses were right. `leads`: of the guesses, where a model made them.
  void NoteVerified(uint32_t judged, uint32_t accepted, absl::Span<const float> leads, Acceptance* stream);

  // Before a step in which `streams` streams decode.
  void BeginStep(uint32_t streams);
  // The best depth for one of them; 0 now and then, as what a step without guesses takes must be known, too.
  uint32_t Choose(const Acceptance& stream) const;

  // While a model guesses: the chance that its guess is right if those before it are.
  double ChanceOf(float lead, const Acceptance& stream) const { return confidence_.ChanceOf(lead, stream.Later(all_)); }
  // What one more guess of a stream is worth, in seconds, before what drafting it costs; `all_right`: the chance that
  // those which it has so far are. Infinite in a trial.
  double WorthOfGuess(const Acceptance& stream, double all_right) const;
  // What one more guess of so many streams costs to draft, in seconds.
  double DraftSeconds(size_t streams) const { return draft_cost_.Of(static_cast<uint32_t>(streams)); }

  // What does not pay must be tried now and then, since it may pay by now: true when this step should go one deeper
  // than Choose says, `depth` being the least that it said. Such tries may cost kTrialShare of the time.
  bool TakeTrial(uint32_t depth);
  // After each step, which took `seconds`, guessing `draft_seconds` of them.
  void NoteStep(double seconds, double draft_seconds);

 private:
  static constexpr double kTrialShare = 0.01;
  static constexpr uint64_t kPlainEvery = 100;  // steps, if they would all have guesses
  static constexpr uint64_t kFresh = 10;        // steps for which what was measured holds
  static constexpr double kWorthwhile = 1.02;   // a gain below is within what measurements err

  bool IsPlainStepDue(uint32_t streams);

  uint32_t max_depth_;
  StepCost draft_cost_, verify_cost_;
  std::vector<double> step_seconds_;    // [max_depth + 1], of this step if all streams choose that depth
  double tokens_per_second_ = 0;        // of all streams at the depth that is best for them together; 0: not known
  double guess_seconds_ = 0;            // what the verification of one more guess takes
  double prompt_seconds_ = 0;           // of the last step
  Acceptance all_{Acceptance::kOfAll};  // of all streams: what is believed of a new one
  Confidence confidence_;
  double trial_seconds_ = 0;  // that trials may take
  uint64_t steps_to_plain_ = kFresh;
  bool is_plain_ = false;              // this step: it measures what a step without guesses takes
  bool is_trial_ = false;              // this step
  bool is_first_guess_tried_ = false;  // in it
};

}  // namespace slmmesh
