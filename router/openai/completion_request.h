// POST /v1/completions, parsed and checked.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "router/openai/sampling_options.h"

namespace slmmesh {

using PromptText = std::string;
using PromptTokens = std::vector<uint32_t>;
using Prompt = std::variant<PromptText, PromptTokens>;

struct CompletionRequest {
  std::string model;  // empty: the only one served
  std::vector<Prompt> prompts;
  SamplingOptions sampling;  // max_tokens 0 (with echo alone): the prompt is scored, nothing is generated
  StreamOptions stream;
  bool echo = false;
  bool add_special_tokens = true;
};

absl::StatusOr<CompletionRequest> ParseCompletionRequest(absl::string_view body, const RequestLimits& limits);

}  // namespace slmmesh
