#include "worker/engine/sampler.h"

#include <cmath>

#include "worker/engine/logit_row.h"
#include "worker/engine/math.h"
#include "worker/engine/noise.h"
#include "worker/engine/rejection.h"

namespace slmmesh {

std::optional<uint32_t> Sampler::Adjust(absl::Span<const float>* logits, const SamplingState& state) {
  if (!state.LeavesLogits()) {
    adjusted_.assign(logits->begin(), logits->end());
    state.AdjustLogits(absl::MakeSpan(adjusted_));
    *logits = adjusted_;
  }
  ChunkMaxima(*logits, &maxima_);
  const uint32_t likeliest = FirstArgmax(*logits, maxima_);
  if (!std::isfinite((*logits)[likeliest])) return std::nullopt;
  return likeliest;
}

void Sampler::Thin(absl::Span<const float> logits, float max_logit, const v1::SamplingParams& params) {
  candidates_.Reset(logits, max_logit, params.temperature());
  if (params.min_p() > 0) candidates_.FilterMinP(params.min_p());
  if (params.top_k() > 0) candidates_.FilterTopK(params.top_k());
  if (params.top_p() < 1) candidates_.FilterTopP(params.top_p());
}

TokenDistribution Sampler::Distribution() const {
  TokenDistribution distribution;
  distribution.ids.assign(candidates_.ids().begin(), candidates_.ids().end());
  double sum = 0;
  for (const float scaled : candidates_.scaled()) {
    distribution.probabilities.push_back(static_cast<double>(ExpNonPositive(scaled)));
    sum += distribution.probabilities.back();
  }
  for (double& probability : distribution.probabilities) probability /= sum;
  return distribution;
}

std::optional<uint32_t> Sampler::Sample(absl::Span<const float> logits, const SamplingState& state) {
  const std::optional<uint32_t> likeliest = Adjust(&logits, state);
  const v1::SamplingParams& params = state.params();
  if (!likeliest.has_value() || params.temperature() == 0) return likeliest;
  Thin(logits, logits[*likeliest], params);
  return Draw(state).id;
}

LeadingToken Sampler::Draw(const SamplingState& state) const {
  LeadingToken token = candidates_.Choose(MakeNoiseKey(state.params().seed(), state.num_output()));
  token.lead *= state.params().temperature();
  return token;
}

std::optional<LeadingToken> Sampler::Guess(absl::Span<const float> logits, const SamplingState& state) {
  const std::optional<uint32_t> likeliest = Adjust(&logits, state);
  if (!likeliest.has_value()) return std::nullopt;
  if (state.params().temperature() == 0) return LeadOf(*likeliest, logits);
  Thin(logits, logits[*likeliest], state.params());
  return Draw(state);
}

std::optional<LeadingToken> Sampler::Propose(absl::Span<const float> logits, const SamplingState& state,
                                             TokenDistribution* proposal) {
  const std::optional<uint32_t> likeliest = Adjust(&logits, state);
  if (!likeliest.has_value()) return std::nullopt;
  if (state.params().temperature() == 0) {
    *proposal = {{*likeliest}, {1}};
    return LeadOf(*likeliest, logits);
  }
  Thin(logits, logits[*likeliest], state.params());
  candidates_.FilterTopK(kProposalTokens);
  *proposal = Distribution();
  return Draw(state);
}

LeadingToken Sampler::LeadOf(uint32_t likeliest, absl::Span<const float> logits) const {
  return {likeliest, logits[likeliest] - SecondLargest(logits, maxima_, likeliest)};
}

std::optional<uint32_t> Sampler::SampleGuessed(absl::Span<const float> logits, const SamplingState& state,
                                               uint32_t guess, const TokenDistribution& proposal) {
  const std::optional<uint32_t> likeliest = Adjust(&logits, state);
  const v1::SamplingParams& params = state.params();
  if (!likeliest.has_value() || params.temperature() == 0) return likeliest;
  Thin(logits, logits[*likeliest], params);
  const auto key = [&](NoiseUse use) { return MakeNoiseKey(params.seed(), state.num_output(), use); };
  return AcceptOrResample(Distribution(), proposal, guess, key(NoiseUse::kAccept), key(NoiseUse::kResample));
}

}  // namespace slmmesh
