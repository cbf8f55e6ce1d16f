#include "router/openai/sampling_options.h"

#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"
#include "common/status.h"
#include "router/openai/api_error.h"

namespace slmmesh {
namespace {

absl::Status CheckFloat(absl::string_view name, const std::optional<float>& value, float min, float max) {
  if (!value.has_value() || (*value >= min && *value <= max)) return absl::OkStatus();
  return RefuseField(name, absl::StrCat(*value, " is out of range; give a number from ", min, " to ", max));
}

template <typename T, typename Proto>
std::optional<T> Maybe(bool has, Proto value) {
  return has ? std::optional<T>(value) : std::nullopt;
}

// Request, then operator, then model, then the neutral value.
template <typename T>
T FirstOf(const std::optional<T>& asked, bool has_operator, T operators, bool has_model, T models, T neutral) {
  if (asked.has_value()) return *asked;
  if (has_operator) return operators;
  return has_model ? models : neutral;
}

absl::StatusOr<uint32_t> ResolveMaxTokens(const SamplingOptions& options, const SamplingDefaults& defaults,
                                          uint32_t max_model_len, uint32_t prompt_tokens, uint32_t fallback) {
  if (prompt_tokens >= max_model_len) {
    return WithCode(RefuseField("prompt", absl::StrCat("it has ", prompt_tokens, " tokens, and the model's context is ",
                                                       max_model_len, " tokens with the answer; shorten it to at most ",
                                                       max_model_len - 1, " tokens")),
                    "context_length_exceeded");
  }
  const uint32_t room = max_model_len - prompt_tokens;
  if (options.max_tokens.has_value()) {
    if (*options.max_tokens > room) {
      return WithCode(RefuseField("max_tokens", absl::StrCat(*options.max_tokens, " and the prompt's ", prompt_tokens,
                                                             " tokens do not fit into the model's context of ",
                                                             max_model_len, " tokens; give at most ", room)),
                      "context_length_exceeded");
    }
    return *options.max_tokens;
  }
  const uint32_t wanted = defaults.max_tokens != 0 ? defaults.max_tokens : fallback;
  return wanted == 0 ? room : std::min(wanted, room);
}

}  // namespace

absl::StatusOr<SamplingOptions> SamplingOptionsFromProto(const v1::GenerateOptions& proto,
                                                         const RequestLimits& limits) {
  SamplingOptions options;
  options.temperature = Maybe<float>(proto.has_temperature(), proto.temperature());
  options.top_k = Maybe<uint32_t>(proto.has_top_k(), proto.top_k());
  options.top_p = Maybe<float>(proto.has_top_p(), proto.top_p());
  options.min_p = Maybe<float>(proto.has_min_p(), proto.min_p());
  options.repetition_penalty = Maybe<float>(proto.has_repetition_penalty(), proto.repetition_penalty());
  options.presence_penalty = Maybe<float>(proto.has_presence_penalty(), proto.presence_penalty());
  options.frequency_penalty = Maybe<float>(proto.has_frequency_penalty(), proto.frequency_penalty());
  options.seed = Maybe<uint64_t>(proto.has_seed(), proto.seed());
  options.min_tokens = Maybe<uint32_t>(proto.has_min_tokens(), proto.min_tokens());
  options.max_tokens = Maybe<uint32_t>(proto.has_max_tokens(), proto.max_tokens());
  options.top_logprobs = Maybe<uint32_t>(proto.has_top_logprobs(), proto.top_logprobs());
  options.ignore_eos = proto.ignore_eos();
  options.stop_token_ids.assign(proto.stop_token_ids().begin(), proto.stop_token_ids().end());
  options.stop.assign(proto.stop().begin(), proto.stop().end());
  for (const auto& [token, bias] : proto.logit_bias()) options.logit_bias.emplace_back(token, bias);
  std::sort(options.logit_bias.begin(), options.logit_bias.end());

  RETURN_IF_ERROR(CheckFloat("temperature", options.temperature, 0, 2));
  RETURN_IF_ERROR(CheckFloat("top_p", options.top_p, std::numeric_limits<float>::min(), 1));
  RETURN_IF_ERROR(CheckFloat("min_p", options.min_p, 0, 1));
  RETURN_IF_ERROR(CheckFloat("repetition_penalty", options.repetition_penalty, 0.01f, 100));
  RETURN_IF_ERROR(CheckFloat("presence_penalty", options.presence_penalty, -2, 2));
  RETURN_IF_ERROR(CheckFloat("frequency_penalty", options.frequency_penalty, -2, 2));
  for (const auto& [token, bias] : options.logit_bias) RETURN_IF_ERROR(CheckFloat("logit_bias", bias, -100, 100));
  if (options.max_tokens == 0u) return RefuseField("max_tokens", "0 is out of range; give at least 1");
  if (options.top_logprobs.value_or(0) > 20) {
    return RefuseField("top_logprobs", absl::StrCat(*options.top_logprobs, " is out of range; give at most 20"));
  }
  if (options.stop.size() > limits.max_stop || options.stop_token_ids.size() > 1024) {
    return RefuseField("stop", absl::StrCat("too many; give at most ", limits.max_stop, " strings and 1024 tokens"));
  }
  for (const std::string& stop : options.stop) {
    if (stop.empty() || stop.size() > 1024) return RefuseField("stop", "each must have 1 to 1024 bytes");
  }
  return options;
}

absl::StatusOr<v1::SamplingParams> ResolveSampling(const SamplingOptions& options, const SamplingDefaults& defaults,
                                                   const v1::ModelInfo& model, const RequestLimits& limits,
                                                   uint32_t prompt_tokens, uint32_t fallback_max_tokens) {
  if (prompt_tokens == 0) return RefuseField("prompt", "it has no tokens; give at least one");
  if (limits.max_prompt_tokens != 0 && prompt_tokens > limits.max_prompt_tokens) {
    return WithCode(RefuseField("prompt", absl::StrCat("it has ", prompt_tokens, " tokens; at most ",
                                                       limits.max_prompt_tokens, " are allowed")),
                    "context_length_exceeded");
  }
  const v1::GenerationDefaults& o = defaults.sampling;
  const v1::GenerationDefaults& m = model.generation_defaults();
  v1::SamplingParams params;
  params.set_temperature(
      FirstOf(options.temperature, o.has_temperature(), o.temperature(), m.has_temperature(), m.temperature(), 1.0f));
  params.set_top_k(FirstOf(options.top_k, o.has_top_k(), o.top_k(), m.has_top_k(), m.top_k(), 0u));
  params.set_top_p(FirstOf(options.top_p, o.has_top_p(), o.top_p(), m.has_top_p(), m.top_p(), 1.0f));
  params.set_min_p(FirstOf(options.min_p, o.has_min_p(), o.min_p(), m.has_min_p(), m.min_p(), 0.0f));
  params.set_repetition_penalty(FirstOf(options.repetition_penalty, o.has_repetition_penalty(), o.repetition_penalty(),
                                        m.has_repetition_penalty(), m.repetition_penalty(), 1.0f));
  params.set_presence_penalty(options.presence_penalty.value_or(0));
  params.set_frequency_penalty(options.frequency_penalty.value_or(0));
  for (const auto& [token, bias] : options.logit_bias) {
    if (token >= model.vocab_size()) {
      return RefuseField("logit_bias",
                         absl::StrCat(token, " is no token; the vocabulary ends at ", int64_t{model.vocab_size()} - 1));
    }
    (*params.mutable_logit_bias())[token] = bias;
  }
  ASSIGN_OR_RETURN(const uint32_t max_tokens,
                   ResolveMaxTokens(options, defaults, model.max_model_len(), prompt_tokens, fallback_max_tokens));
  params.set_max_tokens(max_tokens);
  params.set_min_tokens(options.min_tokens.value_or(0));
  if (params.min_tokens() > max_tokens) {
    return RefuseField("min_tokens",
                       absl::StrCat(params.min_tokens(), " is more than max_tokens (", max_tokens, "); lower it"));
  }
  for (uint32_t token : options.stop_token_ids) params.add_stop_token_ids(token);
  params.set_ignore_eos(options.ignore_eos);
  params.set_seed(options.seed.value_or(0));
  if (options.top_logprobs.has_value()) params.set_top_logprobs(*options.top_logprobs);
  return params;
}

uint64_t ChoiceSeed(uint64_t request_seed, uint32_t choice) {
  if (choice == 0) return request_seed;
  uint64_t x = request_seed + uint64_t{choice} * 0x9e3779b97f4a7c15u;  // SplitMix64
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

}  // namespace slmmesh
