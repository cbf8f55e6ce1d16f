#include "worker/checkpoint/hugging_face_text.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/files.h"
#include "common/status.h"

namespace slmmesh {
namespace {

// A missing file reads as an empty object.
absl::StatusOr<Json> ReadOptionalObject(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadOptionalFile(path));
  if (text.empty()) return Json::object();
  ASSIGN_OR_RETURN(Json json, ParseJson(path, text));
  RETURN_IF_ERROR(JsonFields::Create(path, json).status());
  return json;
}

// A token is written as a string or as an object with its content. Empty: none.
absl::StatusOr<std::string> ReadToken(const JsonFields& fields, const char* name) {
  const Json* value = fields.Find(name);
  if (value == nullptr) return std::string();
  if (value->is_string()) return value->get<std::string>();
  if (value->is_object() && value->contains("content") && value->at("content").is_string()) {
    return value->at("content").get<std::string>();
  }
  return fields.Error(name, "a string, or an object with a string `content`");
}

// One template, or a list of named ones: then the one named `default`.
absl::StatusOr<std::string> ReadChatTemplate(const JsonFields& fields) {
  constexpr const char* kExpected = "a string, or a list of objects {name, template}, one of them named default";
  const Json* value = fields.Find("chat_template");
  if (value == nullptr) return std::string();
  if (value->is_string()) return value->get<std::string>();
  if (!value->is_array()) return fields.Error("chat_template", kExpected);
  for (const Json& entry : *value) {
    if (!entry.is_object() || !entry.contains("name") || !entry.contains("template") ||
        !entry.at("template").is_string()) {
      return fields.Error("chat_template", kExpected);
    }
    if (entry.at("name") == "default") return entry.at("template").get<std::string>();
  }
  return fields.Error("chat_template", kExpected);
}

// One id or a list of them. Empty: none.
absl::StatusOr<std::vector<uint32_t>> ReadTokenIds(const JsonFields& fields, const char* name, int64_t vocab_size) {
  constexpr size_t kMaxIds = 64;
  const Json* value = fields.Find(name);
  std::vector<uint32_t> ids;
  if (value == nullptr) return ids;
  const Json list = value->is_array() ? *value : Json::array({*value});
  for (const Json& id : list) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() >= static_cast<uint64_t>(vocab_size) || ids.size() == kMaxIds) {
      return fields.Error(name, absl::StrCat("a token id below ", vocab_size, ", or a list of at most ", kMaxIds));
    }
    ids.push_back(id.get<uint32_t>());
  }
  return ids;
}

absl::StatusOr<GenerationConfig> ReadGeneration(const JsonFields& fields) {
  GenerationConfig generation;
  const GenerationConfig absent;
  ASSIGN_OR_RETURN(generation.temperature, fields.NumberOr("temperature", absent.temperature, 0, 100));
  ASSIGN_OR_RETURN(generation.top_p, fields.NumberOr("top_p", absent.top_p, 0, 1));
  ASSIGN_OR_RETURN(generation.min_p, fields.NumberOr("min_p", absent.min_p, 0, 1));
  ASSIGN_OR_RETURN(generation.repetition_penalty,
                   fields.NumberOr("repetition_penalty", absent.repetition_penalty, 0.01, 100));
  ASSIGN_OR_RETURN(generation.top_k, fields.IntegerOr("top_k", absent.top_k, -1, INT32_MAX));
  return generation;
}

}  // namespace

absl::StatusOr<std::string> ReadOptionalFile(const std::string& path) {
  absl::StatusOr<std::string> bytes = ReadFile(path);
  if (absl::IsNotFound(bytes.status())) return std::string();
  return bytes;
}

absl::StatusOr<HuggingFaceText> ReadHuggingFaceText(const std::string& folder, const JsonFields& config,
                                                    int64_t vocab_size) {
  HuggingFaceText result;
  TextAssets& text = result.text;
  ASSIGN_OR_RETURN(text.tokenizer_json, ReadOptionalFile(folder + "/tokenizer.json"));

  // Old folders keep the special tokens in a file of their own.
  for (const char* name : {"tokenizer_config.json", "special_tokens_map.json"}) {
    const std::string path = absl::StrCat(folder, "/", name);
    ASSIGN_OR_RETURN(const Json json, ReadOptionalObject(path));
    ASSIGN_OR_RETURN(const JsonFields fields, JsonFields::Create(path, json));
    if (text.bos_token.empty()) {
      ASSIGN_OR_RETURN(text.bos_token, ReadToken(fields, "bos_token"));
    }
    if (text.eos_token.empty()) {
      ASSIGN_OR_RETURN(text.eos_token, ReadToken(fields, "eos_token"));
    }
    if (text.chat_template.empty()) {
      ASSIGN_OR_RETURN(text.chat_template, ReadChatTemplate(fields));
    }
  }
  // A template in a file of its own wins, as in transformers.
  ASSIGN_OR_RETURN(std::string jinja, ReadOptionalFile(folder + "/chat_template.jinja"));
  if (!jinja.empty()) text.chat_template = std::move(jinja);

  const std::string path = folder + "/generation_config.json";
  ASSIGN_OR_RETURN(const Json json, ReadOptionalObject(path));
  ASSIGN_OR_RETURN(const JsonFields fields, JsonFields::Create(path, json));
  ASSIGN_OR_RETURN(result.generation, ReadGeneration(fields));
  const JsonFields& eos_source = fields.Has("eos_token_id") ? fields : config;
  ASSIGN_OR_RETURN(text.eos_token_ids, ReadTokenIds(eos_source, "eos_token_id", vocab_size));
  return result;
}

}  // namespace slmmesh
