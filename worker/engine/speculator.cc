#include "worker/engine/speculator.h"

#include <algorithm>

#include "common/status.h"
#include "worker/engine/model_drafter.h"
#include "worker/engine/ngram_drafter.h"

namespace slmmesh {

absl::StatusOr<std::unique_ptr<Speculator>> Speculator::Create(const SpeculationOptions& options, uint32_t vocab_size,
                                                               uint32_t max_model_len, ModelRunner* draft,
                                                               KvBlocks* blocks, const Clock* clock) {
  if (options.max_guesses == 0) {
    return absl::InvalidArgumentError("speculation.max_guesses is 0: use at least 1, or method none");
  }
  std::unique_ptr<Speculator> speculator(new Speculator(options, max_model_len));
  if (options.method == SpeculationMethod::kNgram) {
    speculator->drafter_ = std::make_unique<NgramDrafter>();
    return speculator;
  }
  if (draft == nullptr) return absl::InvalidArgumentError("speculation.method needs a draft model: give one");
  ModelDrafter::Options model;
  model.cache = options.method == SpeculationMethod::kDraft ? DraftCache::kOwn : DraftCache::kTargets;
  model.rule = options.rule;
  model.stops_early = options.adapts;
  model.vocab_size = vocab_size;
  model.max_len = std::min(max_model_len, options.draft_max_len);
  speculator->drafter_ = std::make_unique<ModelDrafter>(model, draft, blocks, clock, &speculator->policy_);
  return speculator;
}

uint32_t Speculator::Useful(const Sequence& sequence) const {
  const uint32_t of_answer = sequence.sampling.params().max_tokens() - sequence.sampling.num_output();
  const uint32_t of_context = max_model_len_ - sequence.num_tokens();
  return std::min({of_answer, of_context, options_.max_guesses + 1}) - 1;
}

void Speculator::Want(absl::Span<Sequence* const> running) {
  const auto decodes = [](const Sequence* sequence) { return sequence->num_uncomputed() == 1; };
  const auto streams = static_cast<uint32_t>(std::count_if(running.begin(), running.end(), decodes));
  if (streams == 0) return;
  policy_.BeginStep(streams);
  uint32_t least = options_.max_guesses;
  for (Sequence* sequence : running) {
    uint32_t& wanted = sequence->speculation.wanted;
    wanted = 0;
    if (!decodes(sequence)) continue;
    wanted = options_.adapts ? policy_.Choose(sequence->speculation.acceptance) : options_.max_guesses;
    least = std::min(least, wanted);
  }
  const bool is_trial = policy_.TakeTrial(least);
  // A model knows as it guesses when to stop, unless a certain depth is tried.
  const bool stops_itself = options_.method != SpeculationMethod::kNgram && !is_trial;
  for (Sequence* sequence : running) {
    if (!decodes(sequence)) continue;
    uint32_t& wanted = sequence->speculation.wanted;
    if (is_trial) ++wanted;
    if (stops_itself && wanted > 0) wanted = options_.max_guesses;
    wanted = std::min(wanted, Useful(*sequence));
  }
}

void Speculator::NoteVerified(const Verification& verification, absl::Span<const float> leads, Acceptance* acceptance) {
  // Guesses behind the request's end were not judged.
  const uint32_t judged = std::min(verification.guessed, verification.emitted);
  policy_.NoteVerified(judged, verification.accepted, leads, acceptance);
  ++stats_.verifications;
  stats_.guessed += verification.guessed;
  stats_.judged += judged;
  stats_.accepted += verification.accepted;
  stats_.emitted += verification.emitted;
}

void Speculator::NoteStep(const SpeculatedStep& step) {
  if (step.decode_tokens > 0) policy_.NoteVerification(step.decode_tokens, step.has_prompts, step.run_seconds);
  policy_.NoteStep(step.seconds, step.draft_seconds);
}

}  // namespace slmmesh
