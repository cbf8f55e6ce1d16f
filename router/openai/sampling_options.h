// What a client asked about how tokens are chosen, as it stands in the request: absent fields stay absent. Shared by
// chat completions, completions and the gRPC service; ResolveSampling fills the gaps from the model and the knobs.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "slmmesh/v1/inference.pb.h"
#include "slmmesh/v1/sampling.pb.h"
#include "slmmesh/v1/worker.pb.h"

namespace slmmesh {

class FieldReader;

struct SamplingOptions {
  std::optional<float> temperature, top_p, min_p, repetition_penalty, presence_penalty, frequency_penalty;
  std::optional<uint32_t> top_k, min_tokens, max_tokens;
  std::vector<std::pair<uint32_t, float>> logit_bias;
  std::optional<uint64_t> seed;
  std::vector<uint32_t> stop_token_ids;
  bool ignore_eos = false;
  std::optional<uint32_t> top_logprobs;  // alternatives beside the chosen token; absent: no log-probabilities

  std::vector<std::string> stop;
  bool include_stop_str_in_output = false;
  bool skip_special_tokens = true;
  std::optional<uint32_t> n;
};

// Bounds on one request, from the router's knobs.
struct RequestLimits {
  uint32_t max_n = 128;  // choices: n times prompts
  uint32_t max_stop = 16;
  uint32_t max_prompt_tokens = 0;  // 0: the model's context alone bounds it
};

// Reads every field that both kinds of completion share, logprobs apart. `max_tokens` has its own name in chats.
void ReadSamplingOptions(FieldReader* reader, const RequestLimits& limits, SamplingOptions* options);
struct StreamOptions {
  bool stream = false;
  bool include_usage = false;
};
void ReadStreamOptions(FieldReader* reader, StreamOptions* options);
absl::StatusOr<SamplingOptions> SamplingOptionsFromProto(const v1::GenerateOptions& proto, const RequestLimits& limits);

// Defaults that the operator set (the manifest's samplingDefaults); they override the model's generation_config.json.
struct SamplingDefaults {
  v1::GenerationDefaults sampling;
  uint32_t max_tokens = 0;  // 0: what is left of the context
};

// Every field decided. `fallback_max_tokens` holds where neither request nor operator says (0: the rest of the
// context). INVALID_ARGUMENT when the prompt does not fit, or when prompt and an explicit max_tokens do not.
absl::StatusOr<v1::SamplingParams> ResolveSampling(const SamplingOptions& options, const SamplingDefaults& defaults,
                                                   const v1::ModelInfo& model, const RequestLimits& limits,
                                                   uint32_t prompt_tokens, uint32_t fallback_max_tokens);

// The seed of choice `choice`: the first takes the request's own, so that n = 1 and n = 2 begin alike.
uint64_t ChoiceSeed(uint64_t request_seed, uint32_t choice);

}  // namespace slmmesh
