#include "router/openai/completion_request.h"

#include <limits>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "common/status.h"
#include "router/openai/api_error.h"
#include "router/openai/field_reader.h"

namespace slmmesh {
namespace {

using nlohmann::json;

bool IsTokenId(const json& value) {
  return value.is_number_unsigned() && value.get<uint64_t>() <= std::numeric_limits<int32_t>::max();
}

absl::StatusOr<PromptTokens> ReadTokens(const json& value) {
  PromptTokens tokens;
  tokens.reserve(value.size());
  for (const json& entry : value) {
    if (!IsTokenId(entry)) return RefuseField("prompt", absl::StrCat(ShowJson(entry), " is not a token id"));
    tokens.push_back(entry.get<uint32_t>());
  }
  return tokens;
}

absl::StatusOr<Prompt> ReadPrompt(const json& value) {
  if (value.is_string()) return Prompt(value.get<std::string>());
  if (!value.is_array()) {
    return RefuseField("prompt", absl::StrCat(ShowJson(value), " is neither a string nor an array of token ids"));
  }
  ASSIGN_OR_RETURN(PromptTokens tokens, ReadTokens(value));
  return Prompt(std::move(tokens));
}

// A string, an array of strings, an array of token ids, or an array of such arrays.
absl::Status ReadPrompts(const json& value, const RequestLimits& limits, std::vector<Prompt>* prompts) {
  const bool is_batch = value.is_array() && !value.empty() && !value[0].is_number();
  if (!is_batch) {
    ASSIGN_OR_RETURN(Prompt prompt, ReadPrompt(value));
    prompts->push_back(std::move(prompt));
    return absl::OkStatus();
  }
  if (value.size() > limits.max_n) {
    return RefuseField("prompt", absl::StrCat(value.size(), " prompts are too many; give at most ", limits.max_n));
  }
  for (const json& entry : value) {
    ASSIGN_OR_RETURN(Prompt prompt, ReadPrompt(entry));
    prompts->push_back(std::move(prompt));
  }
  return absl::OkStatus();
}

void ReadMaxTokens(FieldReader* reader, bool echo, std::optional<uint32_t>* max_tokens) {
  reader->Unsigned("max_tokens", 0, std::numeric_limits<int32_t>::max(), max_tokens);
  if (*max_tokens == 0u && !echo) reader->Fail("max_tokens", "0 is only allowed with \"echo\": true; give at least 1");
}

void RefuseWhatIsNotThere(FieldReader* reader, uint32_t n) {
  std::optional<uint32_t> best_of;
  reader->Unsigned("best_of", 1, std::numeric_limits<int32_t>::max(), &best_of);
  if (best_of.has_value() && *best_of != n) {
    reader->Fail("best_of", absl::StrCat(*best_of, " is not n (", n, "); leave it out"));
  }
  if (const json* suffix = reader->Take("suffix"); suffix != nullptr && *suffix != json("")) {
    reader->Fail("suffix", "not supported here; leave it out");
  }
  if (const json* format = reader->Take("response_format"); format != nullptr && *format != json{{"type", "text"}}) {
    reader->Fail("response_format", "only {\"type\":\"text\"} is supported here; leave it out");
  }
}

}  // namespace

absl::StatusOr<CompletionRequest> ParseCompletionRequest(absl::string_view body, const RequestLimits& limits) {
  ASSIGN_OR_RETURN(const json object, ParseJsonObject(body));
  CompletionRequest request;
  FieldReader reader(object);
  reader.String("model", 256, &request.model);
  const json* prompt = reader.Take("prompt");
  if (prompt == nullptr) {
    reader.Fail("prompt", "missing; give a string, token ids, or an array of either");
  } else if (absl::Status status = ReadPrompts(*prompt, limits, &request.prompts); !status.ok()) {
    reader.Fail(std::move(status));
  }
  reader.Boolean("echo", &request.echo);
  ReadMaxTokens(&reader, request.echo, &request.sampling.max_tokens);
  ReadSamplingOptions(&reader, limits, &request.sampling);
  reader.Unsigned("logprobs", 0, 20, &request.sampling.top_logprobs);
  ReadStreamOptions(&reader, &request.stream);
  reader.Boolean("add_special_tokens", &request.add_special_tokens);
  const uint32_t n = request.sampling.n.value_or(1);
  RefuseWhatIsNotThere(&reader, n);
  if (n * request.prompts.size() > limits.max_n) {
    reader.Fail("n", absl::StrCat(n, " times ", request.prompts.size(), " prompts is too much; at most ", limits.max_n,
                                  " choices are allowed"));
  }
  reader.Ignore({"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key"});
  RETURN_IF_ERROR(reader.Finish());
  return request;
}

}  // namespace slmmesh
