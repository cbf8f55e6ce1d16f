#include "worker/engine/submit_check.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/status.h"

namespace slmmesh {
namespace {

constexpr float kMaxTemperature = 100, kMaxRepetitionPenalty = 100;
constexpr int kMaxStopTokens = 64, kMaxLogitBiases = 1024;
constexpr uint32_t kMaxTopLogprobs = 20;
constexpr size_t kMaxNameBytes = 256;  // of tenant and cache_salt

template <typename Value>
absl::Status Refuse(const char* field, Value value, const std::string& fix) {
  return absl::InvalidArgumentError(absl::StrCat(field, " is ", value, ": ", fix));
}

absl::Status CheckToken(const char* field, uint32_t token, uint32_t vocab_size) {
  if (token < vocab_size) return absl::OkStatus();
  return Refuse(field, token, absl::StrCat("use token ids below the vocabulary size, ", vocab_size));
}

// NaN is never within.
absl::Status CheckRange(const char* field, float value, float low, float high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return Refuse(field, value, absl::StrCat("use a number from ", low, " to ", high));
}

absl::Status CheckPositive(const char* field, float value, float high) {
  if (value > 0 && value <= high) return absl::OkStatus();
  return Refuse(field, value, absl::StrCat("use a number above 0 and up to ", high));
}

absl::Status CheckNumbers(const v1::SamplingParams& sampling) {
  RETURN_IF_ERROR(CheckRange("sampling.temperature", sampling.temperature(), 0, kMaxTemperature));
  RETURN_IF_ERROR(CheckPositive("sampling.top_p", sampling.top_p(), 1));
  RETURN_IF_ERROR(CheckRange("sampling.min_p", sampling.min_p(), 0, 1));
  RETURN_IF_ERROR(CheckPositive("sampling.repetition_penalty", sampling.repetition_penalty(), kMaxRepetitionPenalty));
  RETURN_IF_ERROR(CheckRange("sampling.presence_penalty", sampling.presence_penalty(), -2, 2));
  RETURN_IF_ERROR(CheckRange("sampling.frequency_penalty", sampling.frequency_penalty(), -2, 2));
  if (sampling.top_logprobs() > kMaxTopLogprobs) {
    return Refuse("sampling.top_logprobs", sampling.top_logprobs(), absl::StrCat("use at most ", kMaxTopLogprobs));
  }
  return absl::OkStatus();
}

absl::Status CheckSampling(const v1::SamplingParams& sampling, uint32_t vocab_size) {
  RETURN_IF_ERROR(CheckNumbers(sampling));
  if (sampling.logit_bias_size() > kMaxLogitBiases) {
    return Refuse("size of sampling.logit_bias", sampling.logit_bias_size(),
                  absl::StrCat("use at most ", kMaxLogitBiases, " entries"));
  }
  for (const auto& [token, bias] : sampling.logit_bias()) {
    RETURN_IF_ERROR(CheckToken("key of sampling.logit_bias", token, vocab_size));
    RETURN_IF_ERROR(CheckRange("value of sampling.logit_bias", bias, -100, 100));
  }
  if (sampling.stop_token_ids_size() > kMaxStopTokens) {
    return Refuse("size of sampling.stop_token_ids", sampling.stop_token_ids_size(),
                  absl::StrCat("use at most ", kMaxStopTokens, " entries"));
  }
  for (uint32_t token : sampling.stop_token_ids()) {
    RETURN_IF_ERROR(CheckToken("entry of sampling.stop_token_ids", token, vocab_size));
  }
  if (sampling.max_tokens() == 0) return Refuse("sampling.max_tokens", 0, "use at least 1");
  if (sampling.min_tokens() > sampling.max_tokens()) {
    return Refuse("sampling.min_tokens", sampling.min_tokens(),
                  absl::StrCat("use at most max_tokens, ", sampling.max_tokens()));
  }
  return absl::OkStatus();
}

absl::Status CheckPrompt(const v1::Submit& submit, const EngineOptions& options, uint32_t vocab_size) {
  const auto size = static_cast<uint64_t>(submit.prompt_tokens_size());
  if (size == 0) return Refuse("size of prompt_tokens", 0, "send at least one token");
  if (size >= options.max_model_len) {
    return Refuse("size of prompt_tokens", size,
                  absl::StrCat("send fewer than max_model_len, ", options.max_model_len, ", tokens"));
  }
  for (uint32_t token : submit.prompt_tokens()) {
    RETURN_IF_ERROR(CheckToken("entry of prompt_tokens", token, vocab_size));
  }
  if (submit.generated_tokens() >= size) {
    return Refuse("generated_tokens", submit.generated_tokens(),
                  absl::StrCat("it counts the last of the ", size, " prompt_tokens, and at least one is the prompt's"));
  }
  if (submit.generated_tokens() >= submit.sampling().max_tokens()) {
    return Refuse("generated_tokens", submit.generated_tokens(),
                  absl::StrCat("the request has its max_tokens, ", submit.sampling().max_tokens(), ", already"));
  }
  return absl::OkStatus();
}

// Alone in the batch, every request must fit: that is what keeps preemption from running in circles.
absl::Status CheckBlocks(const v1::Submit& submit, const EngineOptions& options) {
  const uint64_t num_prompt = static_cast<uint64_t>(submit.prompt_tokens_size()) - submit.generated_tokens();
  const uint64_t last = std::min<uint64_t>(num_prompt + submit.sampling().max_tokens(), options.max_model_len);
  const uint64_t capacity = uint64_t{options.num_blocks} * options.block_size;
  if (last - 1 <= capacity) return absl::OkStatus();  // the last token's KV is never computed
  return Refuse("sum of prompt_tokens and sampling.max_tokens", last,
                absl::StrCat("the KV cache holds ", capacity, " tokens; use a lower max_tokens or a shorter prompt"));
}

}  // namespace

absl::Status CheckSubmit(const v1::Submit& submit, const EngineOptions& options, uint32_t vocab_size) {
  if (submit.tenant().size() > kMaxNameBytes) {
    return Refuse("size of tenant", submit.tenant().size(), absl::StrCat("use at most ", kMaxNameBytes, " bytes"));
  }
  if (submit.cache_salt().size() > kMaxNameBytes) {
    return Refuse("size of cache_salt", submit.cache_salt().size(),
                  absl::StrCat("use at most ", kMaxNameBytes, " bytes"));
  }
  RETURN_IF_ERROR(CheckSampling(submit.sampling(), vocab_size));
  RETURN_IF_ERROR(CheckPrompt(submit, options, vocab_size));
  return CheckBlocks(submit, options);
}

}  // namespace slmmesh
