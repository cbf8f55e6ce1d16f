#include "worker/engine/sampling_state.h"

#include <algorithm>
#include <limits>

namespace slmmesh {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

bool Contains(const std::vector<uint32_t>& tokens, uint32_t token) {
  return std::find(tokens.begin(), tokens.end(), token) != tokens.end();
}

}  // namespace

SamplingState::SamplingState(const v1::SamplingParams& params, absl::Span<const uint32_t> eos_token_ids)
    : params_(params),
      logit_bias_(params.logit_bias().begin(), params.logit_bias().end()),
      ending_tokens_(params.stop_token_ids().begin(), params.stop_token_ids().end()) {
  for (uint32_t token : eos_token_ids) {
    if (Contains(ending_tokens_, token)) continue;  // asked for by name as a stop token: obeyed even with ignore_eos
    (params.ignore_eos() ? ignored_eos_ : ending_tokens_).push_back(token);
  }
}

bool SamplingState::penalizes() const {
  return params_.repetition_penalty() != 1 || params_.presence_penalty() != 0 || params_.frequency_penalty() != 0;
}

void SamplingState::AddPromptToken(uint32_t token) {
  if (params_.repetition_penalty() != 1) output_counts_.try_emplace(token, 0);
}

void SamplingState::AddOutputToken(uint32_t token) {
  if (penalizes()) ++output_counts_[token];
  ++num_output_;
}

void SamplingState::AddGuess(uint32_t token) {
  guesses_.push_back({token, !output_counts_.contains(token)});
  AddOutputToken(token);
}

void SamplingState::DropGuesses() {
  for (; !guesses_.empty(); guesses_.pop_back()) {
    const Guess& guess = guesses_.back();
    --num_output_;
    if (!penalizes()) continue;
    --output_counts_[guess.token];
    if (guess.is_new) output_counts_.erase(guess.token);
  }
}

bool SamplingState::EndsRequest(uint32_t token) const { return Contains(ending_tokens_, token); }

bool SamplingState::LeavesLogits() const {
  const bool masks = !ignored_eos_.empty() || (num_output_ < params_.min_tokens() && !ending_tokens_.empty());
  return logit_bias_.empty() && output_counts_.empty() && !masks;
}

void SamplingState::AdjustLogits(absl::Span<float> logits) const {
  for (const auto& [token, bias] : logit_bias_) logits[token] += bias;
  const float repetition = params_.repetition_penalty();
  for (const auto& [token, count] : output_counts_) {
    float logit = logits[token];
    logit = logit > 0 ? logit / repetition : logit * repetition;
    if (count > 0) {
      logit -= params_.frequency_penalty() * static_cast<float>(count);
      logit -= params_.presence_penalty();
    }
    logits[token] = std::min(logit, std::numeric_limits<float>::max());
  }
  for (uint32_t token : ignored_eos_) logits[token] = kNever;
  if (num_output_ >= params_.min_tokens()) return;
  for (uint32_t token : ending_tokens_) logits[token] = kNever;
}

}  // namespace slmmesh
