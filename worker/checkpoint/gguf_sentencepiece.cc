// GGUF's "llama" vocabularies: SentencePiece BPE. It joins the neighbours whose union has the best score; as a list of
// merges, that is every way to cut a token into two tokens, best score first.
#include <algorithm>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status.h"
#include "worker/checkpoint/gguf_vocabulary.h"

namespace slmmesh {
namespace {

constexpr const char* kSpace = "\u2581";  // how SentencePiece writes a space
constexpr size_t kMaxPieceBytes = 512;    // bounds the ways to cut a token

struct Merge {
  absl::string_view left;
  absl::string_view right;
  double score;
  uint32_t id;
  uint32_t left_id;
  uint32_t right_id;
};

// Only these are made of smaller ones; control and byte tokens come whole.
bool IsMergeable(const GgufVocabulary& vocabulary, uint32_t id) {
  return vocabulary.types[id] == GgufTokenType::kNormal || vocabulary.types[id] == GgufTokenType::kUserDefined;
}

void AppendMerges(const GgufVocabulary& vocabulary, uint32_t id, std::vector<Merge>& merges) {
  const absl::string_view token = vocabulary.tokens[id];
  for (size_t cut = 1; cut < token.size(); ++cut) {
    if ((static_cast<uint8_t>(token[cut]) & 0xc0) == 0x80) continue;  // within a character
    const auto left = vocabulary.ids.find(token.substr(0, cut));
    const auto right = vocabulary.ids.find(token.substr(cut));
    if (left == vocabulary.ids.end() || right == vocabulary.ids.end()) continue;
    if (!IsMergeable(vocabulary, left->second) || !IsMergeable(vocabulary, right->second)) continue;
    merges.push_back({left->first, right->first, vocabulary.scores[id], id, left->second, right->second});
  }
}

absl::StatusOr<Json> DeriveMerges(const GgufMetadata& metadata, const GgufVocabulary& vocabulary) {
  if (vocabulary.scores.empty()) return metadata.Error("tokenizer.ggml.scores", "an array of numbers");
  std::vector<Merge> merges;
  for (uint32_t id = 0; id < vocabulary.tokens.size(); ++id) {
    if (vocabulary.tokens[id].size() > kMaxPieceBytes) {
      return metadata.Error("tokenizer.ggml.tokens", absl::StrCat("tokens of at most ", kMaxPieceBytes, " bytes"));
    }
    if (IsMergeable(vocabulary, id)) AppendMerges(vocabulary, id, merges);
  }
  // Equal scores (runs of spaces have them): in the order of the ids, as the tokenizers that Llama 2 came with.
  std::sort(merges.begin(), merges.end(), [](const Merge& a, const Merge& b) {
    return std::tie(b.score, a.id, a.left_id, a.right_id) < std::tie(a.score, b.id, b.left_id, b.right_id);
  });
  Json result = Json::array();
  for (const Merge& merge : merges) result.push_back(Json::array({std::string(merge.left), std::string(merge.right)}));
  return result;
}

Json Replace(const char* from, const char* to) {
  return {{"type", "Replace"}, {"pattern", {{"String", from}}}, {"content", to}};
}

}  // namespace

absl::StatusOr<TokenizerParts> SentencePieceTokenizer(const GgufMetadata& metadata, const GgufVocabulary& vocabulary) {
  ASSIGN_OR_RETURN(const bool prefixes_space, metadata.BoolOr("tokenizer.ggml.add_space_prefix", true));
  ASSIGN_OR_RETURN(Json merges, DeriveMerges(metadata, vocabulary));
  Json vocab = Json::object();
  for (const auto& [token, id] : vocabulary.ids) vocab[std::string(token)] = id;

  TokenizerParts parts;
  parts.model = {{"type", "BPE"},
                 {"dropout", nullptr},
                 {"unk_token", nullptr},
                 {"continuing_subword_prefix", nullptr},
                 {"end_of_word_suffix", nullptr},
                 {"fuse_unk", true},
                 {"byte_fallback", true},
                 {"ignore_merges", false}};
  if (vocabulary.unknown) parts.model["unk_token"] = std::string(vocabulary.tokens[*vocabulary.unknown]);
  parts.model["vocab"] = std::move(vocab);
  parts.model["merges"] = std::move(merges);

  Json normalizers = Json::array();
  Json decoders = Json::array({Replace(kSpace, " "), {{"type", "ByteFallback"}}, {{"type", "Fuse"}}});
  if (prefixes_space) {
    normalizers.push_back({{"type", "Prepend"}, {"prepend", kSpace}});
    decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  }
  normalizers.push_back(Replace(" ", kSpace));
  parts.normalizer = {{"type", "Sequence"}, {"normalizers", normalizers}};
  parts.decoder = {{"type", "Sequence"}, {"decoders", decoders}};
  parts.adds_bos = true;
  return parts;
}

}  // namespace slmmesh
