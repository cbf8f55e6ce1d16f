// POST /v1/chat/completions, parsed and checked.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "router/openai/sampling_options.h"

namespace slmmesh {

struct ChatMessage {
  std::string role;  // system | user | assistant | tool
  std::string content;
  std::string name;
  std::string tool_call_id;
};

struct ChatRequest {
  std::string model;  // empty: the only one served
  std::vector<ChatMessage> messages;
  SamplingOptions sampling;
  StreamOptions stream;
  bool add_generation_prompt = true;
  std::string template_kwargs_json = "{}";
};

absl::StatusOr<ChatRequest> ParseChatRequest(absl::string_view body, const RequestLimits& limits);

// What the chat template sees: a JSON array of messages with string contents.
std::string MessagesJson(const std::vector<ChatMessage>& messages);

// Shared with /tokenize, which takes messages too.
void ReadMessages(FieldReader* reader, std::vector<ChatMessage>* messages);
void ReadTemplateKwargs(FieldReader* reader, std::string* json);

}  // namespace slmmesh
