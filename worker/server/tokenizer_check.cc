#include "worker/server/tokenizer_check.h"

#include <map>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "common/status.h"

namespace slmmesh {
namespace {

using nlohmann::json;
using Vocabulary = std::map<uint64_t, std::string>;  // tokens by id

// A table of id by token (BPE, WordPiece), or a list of [token, score] (Unigram).
void AddVocabulary(const json& vocab, Vocabulary* tokens) {
  if (vocab.is_object()) {
    for (const auto& [token, id] : vocab.items()) {
      if (id.is_number_unsigned()) (*tokens)[id.get<uint64_t>()] = token;
    }
  } else if (vocab.is_array()) {
    for (size_t id = 0; id < vocab.size(); ++id) {
      if (vocab[id].is_array() && !vocab[id].empty() && vocab[id][0].is_string()) {
        (*tokens)[id] = vocab[id][0].get<std::string>();
      }
    }
  }
}

absl::StatusOr<Vocabulary> ReadVocabulary(const std::string& text) {
  const json tokenizer = json::parse(text, nullptr, false);
  Vocabulary tokens;
  if (tokenizer.is_object()) {
    const auto model = tokenizer.find("model");
    if (model != tokenizer.end() && model->is_object() && model->contains("vocab")) {
      AddVocabulary((*model)["vocab"], &tokens);
    }
    const auto added = tokenizer.find("added_tokens");
    if (added != tokenizer.end() && added->is_array()) {
      for (const json& token : *added) {
        if (!token.is_object() || !token.contains("id") || !token.contains("content")) continue;
        if (token["id"].is_number_unsigned() && token["content"].is_string()) {
          tokens[token["id"].get<uint64_t>()] = token["content"].get<std::string>();
        }
      }
    }
  }
  if (tokens.empty()) return absl::InvalidArgumentError("its tokenizer has no vocabulary that can be read");
  return tokens;
}

}  // namespace

absl::Status CheckSameTokenizer(const std::string& target, const std::string& draft) {
  if (target == draft) return absl::OkStatus();
  ASSIGN_OR_RETURN(const Vocabulary of_target, ReadVocabulary(target));
  ASSIGN_OR_RETURN(const Vocabulary of_draft, ReadVocabulary(draft));
  for (const auto& [id, token] : of_draft) {
    const auto same = of_target.find(id);
    if (same == of_target.end() || same->second == token) continue;
    return absl::InvalidArgumentError(absl::StrCat("its token ", id, " is another than the model's"));
  }
  return absl::OkStatus();
}

}  // namespace slmmesh
