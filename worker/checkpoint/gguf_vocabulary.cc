#include "worker/checkpoint/gguf_vocabulary.h"

#include <cmath>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/status.h"

namespace slmmesh {
namespace {

absl::StatusOr<std::optional<uint32_t>> ReadSpecialId(const GgufMetadata& metadata, absl::string_view key,
                                                      size_t num_tokens) {
  if (metadata.Find(key) == nullptr) return std::optional<uint32_t>();
  // Some files hold the largest uint32 for "none".
  ASSIGN_OR_RETURN(const int64_t id, metadata.Integer(key, 0, UINT32_MAX));
  if (id == UINT32_MAX) return std::optional<uint32_t>();
  if (id >= static_cast<int64_t>(num_tokens)) return metadata.Error(key, absl::StrCat("an id below ", num_tokens));
  return std::optional<uint32_t>(static_cast<uint32_t>(id));
}

absl::Status ReadTypes(const GgufMetadata& metadata, GgufVocabulary& vocabulary) {
  constexpr const char* kKey = "tokenizer.ggml.token_type";
  ASSIGN_OR_RETURN(const std::vector<int64_t>* types, metadata.Array<int64_t>(kKey));
  if (types == nullptr) {
    vocabulary.types.assign(vocabulary.tokens.size(), GgufTokenType::kNormal);
    return absl::OkStatus();
  }
  if (types->size() != vocabulary.tokens.size()) return metadata.Error(kKey, "as many types as tokens");
  for (const int64_t type : *types) {
    if (type < 1 || type > 6) return metadata.Error(kKey, "types from 1 to 6");
    vocabulary.types.push_back(static_cast<GgufTokenType>(type));
  }
  return absl::OkStatus();
}

absl::Status ReadScores(const GgufMetadata& metadata, GgufVocabulary& vocabulary) {
  constexpr const char* kKey = "tokenizer.ggml.scores";
  ASSIGN_OR_RETURN(const std::vector<double>* scores, metadata.Array<double>(kKey));
  if (scores == nullptr) return absl::OkStatus();
  if (scores->size() != vocabulary.tokens.size()) return metadata.Error(kKey, "as many scores as tokens");
  for (const double score : *scores) {
    if (std::isnan(score)) return metadata.Error(kKey, "numbers (one is NaN)");
  }
  vocabulary.scores = *scores;
  return absl::OkStatus();
}

}  // namespace

bool IsValidUtf8(absl::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const uint8_t lead = static_cast<uint8_t>(text[i]);
    const size_t length = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    if ((lead >= 0x80 && lead < 0xc2) || lead > 0xf4 || length > text.size() - i) return false;
    for (size_t k = 1; k < length; ++k) {
      if ((static_cast<uint8_t>(text[i + k]) & 0xc0) != 0x80) return false;
    }
    const uint8_t second = length > 1 ? static_cast<uint8_t>(text[i + 1]) : 0;
    // Overlong forms, surrogates, and what lies beyond Unicode.
    if ((lead == 0xe0 && second < 0xa0) || (lead == 0xed && second >= 0xa0) || (lead == 0xf0 && second < 0x90) ||
        (lead == 0xf4 && second >= 0x90)) {
      return false;
    }
    i += length;
  }
  return true;
}

absl::StatusOr<GgufVocabulary> ReadGgufVocabulary(const GgufMetadata& metadata, int64_t vocab_size) {
  constexpr const char* kKey = "tokenizer.ggml.tokens";
  GgufVocabulary vocabulary;
  ASSIGN_OR_RETURN(const std::vector<absl::string_view>* tokens, metadata.Array<absl::string_view>(kKey));
  if (tokens == nullptr || tokens->empty() || static_cast<int64_t>(tokens->size()) > vocab_size) {
    return metadata.Error(kKey, absl::StrCat("1 to ", vocab_size, " tokens, as token_embd.weight has rows"));
  }
  vocabulary.tokens = *tokens;
  for (size_t id = 0; id < tokens->size(); ++id) {
    const absl::string_view token = (*tokens)[id];
    const bool is_new = vocabulary.ids.emplace(token, static_cast<uint32_t>(id)).second;
    if (!is_new || !IsValidUtf8(token)) {
      return absl::InvalidArgumentError(absl::StrCat(metadata.where(), ": metadata `", kKey, "`: token ", id, " is \"",
                                                     absl::CHexEscape(token.substr(0, 80)), "\"; expected ",
                                                     is_new ? "valid UTF-8" : "each token once"));
    }
  }
  RETURN_IF_ERROR(ReadTypes(metadata, vocabulary));
  RETURN_IF_ERROR(ReadScores(metadata, vocabulary));
  const size_t count = tokens->size();
  ASSIGN_OR_RETURN(vocabulary.bos, ReadSpecialId(metadata, "tokenizer.ggml.bos_token_id", count));
  ASSIGN_OR_RETURN(vocabulary.eos, ReadSpecialId(metadata, "tokenizer.ggml.eos_token_id", count));
  ASSIGN_OR_RETURN(vocabulary.unknown, ReadSpecialId(metadata, "tokenizer.ggml.unknown_token_id", count));
  return vocabulary;
}

}  // namespace slmmesh
