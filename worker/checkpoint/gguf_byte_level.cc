// GGUF's "gpt2" vocabularies: byte-level BPE. Text is first cut by the pre-tokenizer that the merges were learned with;
// the file only names it.
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/status.h"
#include "worker/checkpoint/gguf_vocabulary.h"

namespace slmmesh {
namespace {

constexpr const char* kLlama3Split =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kQwen2Split =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kTekkenSplit = R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
                                     R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
                                     R"(|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

enum class Split { kGpt2, kGpt2Digits, kPattern };

struct PreTokenizer {
  const char* name;
  Split split;
  const char* pattern;  // of kPattern
  bool normalizes;      // NFC first
  bool whole_words;     // a word that is a token is not cut by merges
  bool adds_bos;
};
constexpr PreTokenizer kPreTokenizers[] = {
    {"gpt-2", Split::kGpt2, "", false, false, false},
    {"default", Split::kGpt2, "", false, false, false},
    {"smollm", Split::kGpt2Digits, "", false, false, false},
    {"starcoder", Split::kGpt2Digits, "", false, false, false},
    {"llama-bpe", Split::kPattern, kLlama3Split, false, true, true},
    {"llama3", Split::kPattern, kLlama3Split, false, true, true},
    {"llama-v3", Split::kPattern, kLlama3Split, false, true, true},
    {"qwen2", Split::kPattern, kQwen2Split, true, false, false},
    {"tekken", Split::kPattern, kTekkenSplit, false, true, true},
};

Json ByteLevel(bool use_regex) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", use_regex}};
}

Json PreTokenizerJson(const PreTokenizer& pre) {
  Json steps = Json::array();
  switch (pre.split) {
    case Split::kGpt2:
      return ByteLevel(/*use_regex=*/true);
    case Split::kGpt2Digits:
      steps.push_back({{"type", "Digits"}, {"individual_digits", true}});
      steps.push_back(ByteLevel(/*use_regex=*/true));
      break;
    case Split::kPattern:
      steps.push_back(
          {{"type", "Split"}, {"pattern", {{"Regex", pre.pattern}}}, {"behavior", "Isolated"}, {"invert", false}});
      steps.push_back(ByteLevel(/*use_regex=*/false));
      break;
  }
  return {{"type", "Sequence"}, {"pretokenizers", steps}};
}

absl::StatusOr<PreTokenizer> SelectPreTokenizer(const GgufMetadata& metadata) {
  constexpr const char* kKey = "tokenizer.ggml.pre";
  std::string known;
  ASSIGN_OR_RETURN(const std::string name, metadata.StringOr(kKey, ""));
  for (const PreTokenizer& pre : kPreTokenizers) {
    if (name == pre.name) return pre;
    absl::StrAppend(&known, known.empty() ? "" : ", ", pre.name);
  }
  return metadata.Error(kKey, absl::StrCat("one of ", known, " (another way to cut text would give other tokens)"));
}

// "a b": both halves and their union must be tokens, or the tokenizer could not be built.
absl::StatusOr<Json> ReadMerges(const GgufMetadata& metadata, const GgufVocabulary& vocabulary) {
  constexpr const char* kKey = "tokenizer.ggml.merges";
  ASSIGN_OR_RETURN(const std::vector<absl::string_view>* merges, metadata.Array<absl::string_view>(kKey));
  if (merges == nullptr) return metadata.Error(kKey, "an array of strings");
  Json result = Json::array();
  for (size_t i = 0; i < merges->size(); ++i) {
    const absl::string_view merge = (*merges)[i];
    const size_t space = merge.find(' ', 1);
    const absl::string_view left = merge.substr(0, space);
    const absl::string_view right = space == merge.npos ? "" : merge.substr(space + 1);
    if (!vocabulary.ids.contains(left) || !vocabulary.ids.contains(right) ||
        !vocabulary.ids.contains(absl::StrCat(left, right))) {
      return absl::InvalidArgumentError(absl::StrCat(metadata.where(), ": metadata `", kKey, "`: merge ", i, " is \"",
                                                     absl::CHexEscape(merge.substr(0, 80)),
                                                     "\"; expected two tokens whose union is a token"));
    }
    result.push_back(Json::array({std::string(left), std::string(right)}));
  }
  return result;
}

}  // namespace

absl::StatusOr<TokenizerParts> ByteLevelTokenizer(const GgufMetadata& metadata, const GgufVocabulary& vocabulary) {
  ASSIGN_OR_RETURN(const PreTokenizer pre, SelectPreTokenizer(metadata));
  ASSIGN_OR_RETURN(Json merges, ReadMerges(metadata, vocabulary));
  Json vocab = Json::object();
  for (const auto& [token, id] : vocabulary.ids) vocab[std::string(token)] = id;

  TokenizerParts parts;
  parts.model = {{"type", "BPE"},
                 {"dropout", nullptr},
                 {"unk_token", nullptr},
                 {"continuing_subword_prefix", nullptr},
                 {"end_of_word_suffix", nullptr},
                 {"fuse_unk", false},
                 {"byte_fallback", false},
                 {"ignore_merges", pre.whole_words}};
  parts.model["vocab"] = std::move(vocab);
  parts.model["merges"] = std::move(merges);
  if (pre.normalizes) parts.normalizer = {{"type", "NFC"}};
  parts.pre_tokenizer = PreTokenizerJson(pre);
  parts.decoder = ByteLevel(/*use_regex=*/true);
  parts.adds_bos = pre.adds_bos;
  return parts;
}

}  // namespace slmmesh
