#include "router/openai/chat_request.h"

#include <limits>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "common/status.h"
#include "router/openai/field_reader.h"
#include "router/openai/json_text.h"

namespace slmmesh {
namespace {

using nlohmann::json;

constexpr size_t kMaxMessages = 4096;
constexpr size_t kMaxNameBytes = 256;
constexpr size_t kAnyBytes = std::numeric_limits<size_t>::max();  // the body's limit bounds it

bool IsEmptyList(const json& value) { return value.is_array() && value.empty(); }

// A string, or an array of text parts, which are joined by newlines as vLLM joins them.
void ReadContent(FieldReader* reader, const json& value, std::string* content) {
  if (value.is_string()) {
    *content = value.get_ref<const std::string&>();
    return;
  }
  if (!value.is_array()) return reader->Fail("content", "must be a string or an array of text parts");
  for (size_t i = 0; i < value.size(); ++i) {
    const std::string where = absl::StrCat("content[", i, "]");
    const json& part = value[i];
    if (!part.is_object()) return reader->Fail(where, "must be an object {\"type\":\"text\",\"text\":…}");
    FieldReader fields(part, absl::StrCat(where, "."));
    std::string type, text;
    fields.String("type", kMaxNameBytes, &type);
    if (!fields.failed() && type != "text") {
      return reader->Fail(absl::StrCat(where, ".type"),
                          absl::StrCat("\"", CutText(type, 64), "\" parts are not supported here; give \"text\""));
    }
    if (fields.Take("text") == nullptr) fields.Fail("text", "missing");
    fields.String("text", kAnyBytes, &text);
    if (absl::Status status = fields.Finish(); !status.ok()) {
      return reader->Fail(absl::StrCat(where, ".text"), status.message());
    }
    if (i > 0) content->push_back('\n');
    content->append(text);
  }
}

void ReadRole(FieldReader* reader, std::string* role) {
  reader->String("role", kMaxNameBytes, role);
  if (*role == "developer") *role = "system";
  if (*role != "system" && *role != "user" && *role != "assistant" && *role != "tool") {
    reader->Fail("role",
                 absl::StrCat("\"", CutText(*role, 64), "\" is none of system, developer, user, assistant, tool"));
  }
}

absl::StatusOr<ChatMessage> ReadMessage(const json& value, const std::string& where) {
  ChatMessage message;
  FieldReader reader(value, absl::StrCat(where, "."));
  ReadRole(&reader, &message.role);
  const json* content = reader.Take("content");
  if (content != nullptr) {
    ReadContent(&reader, *content, &message.content);
  } else if (message.role != "assistant") {
    reader.Fail("content", "missing; give a string");
  }
  reader.String("name", kMaxNameBytes, &message.name);
  if (message.role == "tool") reader.String("tool_call_id", kMaxNameBytes, &message.tool_call_id);
  if (const json* calls = reader.Take("tool_calls"); calls != nullptr && !IsEmptyList(*calls)) {
    reader.Fail("tool_calls", "not supported here; leave it out");
  }
  reader.NotSupported({"function_call", "audio", "refusal"});
  RETURN_IF_ERROR(reader.Finish());
  return message;
}

// Fields of OpenAI's API that would change the answer are refused unless they ask for what happens anyway.
void RefuseWhatIsNotThere(FieldReader* reader) {
  for (const char* name : {"tools", "functions"}) {
    const json* value = reader->Take(name);
    if (value != nullptr && !IsEmptyList(*value)) reader->Fail(name, "not supported here; leave it out");
  }
  for (const char* name : {"tool_choice", "function_call"}) {
    const json* value = reader->Take(name);
    if (value != nullptr && *value != "none") reader->Fail(name, "only \"none\" is supported here; leave it out");
  }
  if (const json* format = reader->Take("response_format"); format != nullptr && *format != json{{"type", "text"}}) {
    reader->Fail("response_format", "only {\"type\":\"text\"} is supported here; leave it out");
  }
  if (const json* modalities = reader->Take("modalities");
      modalities != nullptr && *modalities != json::array({"text"})) {
    reader->Fail("modalities", "only [\"text\"] is supported here; leave it out");
  }
  reader->NotSupported({"audio", "prediction", "reasoning_effort", "verbosity", "web_search_options"});
}

void ReadMaxTokens(FieldReader* reader, std::optional<uint32_t>* max_tokens) {
  std::optional<uint32_t> older;
  reader->Unsigned("max_completion_tokens", 1, std::numeric_limits<int32_t>::max(), max_tokens);
  reader->Unsigned("max_tokens", 1, std::numeric_limits<int32_t>::max(), &older);
  if (max_tokens->has_value() && older.has_value() && *max_tokens != *older) {
    reader->Fail("max_tokens",
                 absl::StrCat(*older, " contradicts max_completion_tokens (", **max_tokens, "); give one of them"));
  }
  if (!max_tokens->has_value()) *max_tokens = older;
}

void ReadLogprobs(FieldReader* reader, std::optional<uint32_t>* top_logprobs) {
  bool logprobs = false;
  reader->Boolean("logprobs", &logprobs);
  std::optional<uint32_t> top;
  reader->Unsigned("top_logprobs", 0, 20, &top);
  if (top.has_value() && !logprobs) reader->Fail("top_logprobs", "only allowed with \"logprobs\": true");
  if (logprobs) *top_logprobs = top.value_or(0);
}

}  // namespace

void ReadMessages(FieldReader* reader, std::vector<ChatMessage>* messages) {
  const json* value = reader->Take("messages");
  if (value == nullptr || reader->failed()) return reader->Fail("messages", "missing; give an array of messages");
  if (!value->is_array() || value->empty()) return reader->Fail("messages", "must be an array of at least one message");
  if (value->size() > kMaxMessages) {
    return reader->Fail("messages", absl::StrCat(value->size(), " are too many; give at most ", kMaxMessages));
  }
  for (size_t i = 0; i < value->size(); ++i) {
    const std::string where = absl::StrCat("messages[", i, "]");
    if (!(*value)[i].is_object()) return reader->Fail(where, "must be an object with role and content");
    absl::StatusOr<ChatMessage> message = ReadMessage((*value)[i], where);
    if (!message.ok()) return reader->Fail(message.status());
    messages->push_back(*std::move(message));
  }
}

void ReadTemplateKwargs(FieldReader* reader, std::string* kwargs_json) {
  const json* value = reader->Take("chat_template_kwargs");
  if (value == nullptr) return;
  if (!value->is_object()) return reader->Fail("chat_template_kwargs", "must be an object");
  for (const char* own : {"messages", "add_generation_prompt", "bos_token", "eos_token"}) {
    if (value->contains(own)) {
      return reader->Fail("chat_template_kwargs", absl::StrCat("\"", own, "\" is the router's own; leave it out"));
    }
  }
  *kwargs_json = value->dump();
}

absl::StatusOr<ChatRequest> ParseChatRequest(absl::string_view body, const RequestLimits& limits) {
  ASSIGN_OR_RETURN(const json object, ParseJsonObject(body));
  ChatRequest request;
  FieldReader reader(object);
  reader.String("model", kMaxNameBytes, &request.model);
  ReadMessages(&reader, &request.messages);
  ReadMaxTokens(&reader, &request.sampling.max_tokens);
  ReadSamplingOptions(&reader, limits, &request.sampling);
  ReadLogprobs(&reader, &request.sampling.top_logprobs);
  ReadStreamOptions(&reader, &request.stream);
  ReadTemplateKwargs(&reader, &request.template_kwargs_json);
  reader.Boolean("add_generation_prompt", &request.add_generation_prompt);
  RefuseWhatIsNotThere(&reader);
  reader.Ignore({"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key",
                 "prompt_cache_retention", "parallel_tool_calls"});
  RETURN_IF_ERROR(reader.Finish());
  return request;
}

std::string MessagesJson(const std::vector<ChatMessage>& messages) {
  std::string out = "[";
  const auto field = [&out](const char* name, const std::string& value) {
    out.append(name);
    AppendJsonString(&out, value);
  };
  for (const ChatMessage& message : messages) {
    if (out.size() > 1) out.push_back(',');
    field("{\"role\":", message.role);
    field(",\"content\":", message.content);
    if (!message.name.empty()) field(",\"name\":", message.name);
    if (!message.tool_call_id.empty()) field(",\"tool_call_id\":", message.tool_call_id);
    out.push_back('}');
  }
  out.push_back(']');
  return out;
}

}  // namespace slmmesh
