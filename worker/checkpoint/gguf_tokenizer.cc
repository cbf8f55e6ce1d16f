#include "worker/checkpoint/gguf_tokenizer.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "common/status.h"
#include "worker/checkpoint/gguf_vocabulary.h"
#include "worker/checkpoint/json_fields.h"

namespace slmmesh {
namespace {

// Tokens that the text itself never makes: control tokens, and those that were added by hand.
Json AddedTokens(const GgufVocabulary& vocabulary) {
  Json added = Json::array();
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    const GgufTokenType type = vocabulary.types[id];
    const bool is_special = type == GgufTokenType::kControl || type == GgufTokenType::kUnknown;
    if (!is_special && type != GgufTokenType::kUserDefined) continue;
    if (vocabulary.tokens[id].empty()) continue;
    added.push_back({{"id", id},
                     {"content", std::string(vocabulary.tokens[id])},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", is_special}});
  }
  return added;
}

// What is put around a text when special tokens are asked for.
Json PostProcessor(const GgufVocabulary& vocabulary, bool adds_bos, bool adds_eos) {
  Json single = Json::array();
  Json pair = Json::array();
  Json special = Json::object();
  const auto add = [&](uint32_t id, int type_id) {
    const std::string token(vocabulary.tokens[id]);
    const Json step = {{"SpecialToken", {{"id", token}, {"type_id", type_id}}}};
    if (type_id == 0) single.push_back(step);
    pair.push_back(step);
    special[token] = {{"id", token}, {"ids", Json::array({id})}, {"tokens", Json::array({token})}};
  };
  for (const int type_id : {0, 1}) {
    if (adds_bos) add(*vocabulary.bos, type_id);
    const Json text = {{"Sequence", {{"id", type_id == 0 ? "A" : "B"}, {"type_id", type_id}}}};
    if (type_id == 0) single.push_back(text);
    pair.push_back(text);
    if (adds_eos) add(*vocabulary.eos, type_id);
  }
  return {{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", special}};
}

absl::StatusOr<TokenizerParts> BuildParts(const GgufMetadata& metadata, const GgufVocabulary& vocabulary) {
  constexpr const char* kKey = "tokenizer.ggml.model";
  ASSIGN_OR_RETURN(const std::string model, metadata.String(kKey));
  if (model == "gpt2") return ByteLevelTokenizer(metadata, vocabulary);
  if (model == "llama") return SentencePieceTokenizer(metadata, vocabulary);
  return metadata.Error(kKey, "gpt2 (byte-level BPE) or llama (SentencePiece BPE)");
}

absl::StatusOr<std::string> BuildTokenizerJson(const GgufMetadata& metadata, const GgufVocabulary& vocabulary) {
  ASSIGN_OR_RETURN(TokenizerParts parts, BuildParts(metadata, vocabulary));
  ASSIGN_OR_RETURN(const bool adds_bos, metadata.BoolOr("tokenizer.ggml.add_bos_token", parts.adds_bos));
  ASSIGN_OR_RETURN(const bool adds_eos, metadata.BoolOr("tokenizer.ggml.add_eos_token", false));
  const bool has_bos = adds_bos && vocabulary.bos.has_value();
  const bool has_eos = adds_eos && vocabulary.eos.has_value();
  Json json = {{"version", "1.0"}, {"truncation", nullptr}, {"padding", nullptr}, {"post_processor", nullptr}};
  if (has_bos || has_eos) json["post_processor"] = PostProcessor(vocabulary, has_bos, has_eos);
  json["added_tokens"] = AddedTokens(vocabulary);
  json["normalizer"] = std::move(parts.normalizer);
  json["pre_tokenizer"] = std::move(parts.pre_tokenizer);
  json["decoder"] = std::move(parts.decoder);
  json["model"] = std::move(parts.model);
  return json.dump(-1, ' ', false,
                   Json::error_handler_t::replace);  // the vocabulary is valid UTF-8: nothing is replaced
}

// The end of a text, of a turn, and of a message to a tool: all of them end what a model says.
absl::StatusOr<std::vector<uint32_t>> ReadEndIds(const GgufMetadata& metadata, const GgufVocabulary& vocabulary) {
  std::vector<uint32_t> ids;
  if (vocabulary.eos) ids.push_back(*vocabulary.eos);
  for (const char* key : {"tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"}) {
    if (metadata.Find(key) == nullptr) continue;
    ASSIGN_OR_RETURN(const int64_t id, metadata.Integer(key, 0, static_cast<int64_t>(vocabulary.tokens.size()) - 1));
    if (std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(static_cast<uint32_t>(id));
  }
  return ids;
}

}  // namespace

absl::StatusOr<TextAssets> ReadGgufText(const GgufMetadata& metadata, int64_t vocab_size) {
  constexpr const char* kTemplateKey = "tokenizer.chat_template";
  ASSIGN_OR_RETURN(const GgufVocabulary vocabulary, ReadGgufVocabulary(metadata, vocab_size));
  TextAssets text;
  ASSIGN_OR_RETURN(text.tokenizer_json, BuildTokenizerJson(metadata, vocabulary));
  ASSIGN_OR_RETURN(text.chat_template, metadata.StringOr(kTemplateKey, ""));
  if (!IsValidUtf8(text.chat_template)) return metadata.Error(kTemplateKey, "valid UTF-8");
  if (vocabulary.bos) text.bos_token = std::string(vocabulary.tokens[*vocabulary.bos]);
  if (vocabulary.eos) text.eos_token = std::string(vocabulary.tokens[*vocabulary.eos]);
  ASSIGN_OR_RETURN(text.eos_token_ids, ReadEndIds(metadata, vocabulary));
  return text;
}

}  // namespace slmmesh
