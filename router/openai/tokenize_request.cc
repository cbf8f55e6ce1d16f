#include "router/openai/tokenize_request.h"

#include <limits>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "common/status.h"
#include "router/openai/field_reader.h"
#include "router/openai/json_text.h"

namespace slmmesh {

using nlohmann::json;

absl::StatusOr<TokenizeRequest> ParseTokenizeRequest(absl::string_view body) {
  ASSIGN_OR_RETURN(const json object, ParseJsonObject(body));
  TokenizeRequest request;
  FieldReader reader(object);
  reader.String("model", 256, &request.model);
  request.is_chat = reader.Take("messages") != nullptr;
  if (request.is_chat) {
    ReadMessages(&reader, &request.messages);
    reader.Boolean("add_generation_prompt", &request.add_generation_prompt);
    ReadTemplateKwargs(&reader, &request.template_kwargs_json);
  } else {
    if (reader.Take("prompt") == nullptr) reader.Fail("prompt", "missing; give prompt or messages");
    reader.String("prompt", std::numeric_limits<size_t>::max(), &request.prompt);
  }
  reader.Boolean("add_special_tokens", &request.add_special_tokens);
  reader.Boolean("return_token_strs", &request.return_token_strs);
  RETURN_IF_ERROR(reader.Finish());
  return request;
}

absl::StatusOr<DetokenizeRequest> ParseDetokenizeRequest(absl::string_view body) {
  ASSIGN_OR_RETURN(const json object, ParseJsonObject(body));
  DetokenizeRequest request;
  FieldReader reader(object);
  reader.String("model", 256, &request.model);
  const json* tokens = reader.Take("tokens");
  if (tokens == nullptr || !tokens->is_array()) {
    reader.Fail("tokens", "missing; give an array of token ids");
  } else {
    for (const json& entry : *tokens) {
      if (!entry.is_number_unsigned() || entry.get<uint64_t>() > std::numeric_limits<int32_t>::max()) {
        reader.Fail("tokens", absl::StrCat(ShowJson(entry), " is not a token id"));
        break;
      }
      request.tokens.push_back(entry.get<uint32_t>());
    }
  }
  RETURN_IF_ERROR(reader.Finish());
  return request;
}

std::string TokenizeJson(const std::vector<uint32_t>& tokens, uint32_t max_model_len,
                         const std::vector<std::string>* token_strs) {
  std::string out = absl::StrCat("{\"count\":", tokens.size(), ",\"max_model_len\":", max_model_len, ",\"tokens\":[");
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (i > 0) out.push_back(',');
    AppendJsonInt(&out, tokens[i]);
  }
  out.append("],\"token_strs\":");
  if (token_strs == nullptr) {
    out.append("null");
  } else {
    out.push_back('[');
    for (size_t i = 0; i < token_strs->size(); ++i) {
      if (i > 0) out.push_back(',');
      AppendJsonString(&out, (*token_strs)[i]);
    }
    out.push_back(']');
  }
  out.push_back('}');
  return out;
}

}  // namespace slmmesh
