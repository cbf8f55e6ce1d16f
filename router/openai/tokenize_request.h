// POST /tokenize and /detokenize, in vLLM's shapes: tools beside OpenAI's API that show what the model will see.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "router/openai/chat_request.h"

namespace slmmesh {

struct TokenizeRequest {
  std::string model;
  bool is_chat = false;  // messages instead of prompt
  std::string prompt;
  std::vector<ChatMessage> messages;
  bool add_special_tokens = true;
  bool add_generation_prompt = true;
  bool return_token_strs = false;
  std::string template_kwargs_json = "{}";
};
absl::StatusOr<TokenizeRequest> ParseTokenizeRequest(absl::string_view body);

struct DetokenizeRequest {
  std::string model;
  std::vector<uint32_t> tokens;
};
absl::StatusOr<DetokenizeRequest> ParseDetokenizeRequest(absl::string_view body);

// {"count":…,"max_model_len":…,"tokens":[…],"token_strs":null|[…]}
std::string TokenizeJson(const std::vector<uint32_t>& tokens, uint32_t max_model_len,
                         const std::vector<std::string>* token_strs);

}  // namespace slmmesh
