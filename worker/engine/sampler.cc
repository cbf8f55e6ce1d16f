#include "worker/engine/sampler.h"

#include <cmath>

#include "worker/engine/logit_row.h"
#include "worker/engine/noise.h"

namespace slmmesh {

std::optional<uint32_t> Sampler::Sample(absl::Span<const float> logits, const SamplingState& state) {
  if (!state.LeavesLogits()) {
    adjusted_.assign(logits.begin(), logits.end());
    state.AdjustLogits(absl::MakeSpan(adjusted_));
    logits = adjusted_;
  }
  ChunkMaxima(logits, &maxima_);
  const uint32_t likeliest = FirstArgmax(logits, maxima_);
  if (!std::isfinite(logits[likeliest])) return std::nullopt;

  const v1::SamplingParams& params = state.params();
  if (params.temperature() == 0) return likeliest;
  candidates_.Reset(logits, logits[likeliest], params.temperature());
  if (params.min_p() > 0) candidates_.FilterMinP(params.min_p());
  if (params.top_k() > 0) candidates_.FilterTopK(params.top_k());
  if (params.top_p() < 1) candidates_.FilterTopP(params.top_p());
  return candidates_.Choose(MakeNoiseKey(params.seed(), state.num_output()));
}

}  // namespace slmmesh
