// The tokens of a GGUF file, checked: valid UTF-8, each once, and special ids that exist.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "worker/checkpoint/gguf_file.h"
#include "worker/checkpoint/json_fields.h"

namespace slmmesh {

// The format's codes of token types.
enum class GgufTokenType { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

struct GgufVocabulary {
  std::vector<absl::string_view> tokens;  // by id
  std::vector<GgufTokenType> types;       // by id
  std::vector<double> scores;             // by id; empty: the file has none
  absl::flat_hash_map<absl::string_view, uint32_t> ids;
  std::optional<uint32_t> bos;
  std::optional<uint32_t> eos;
  std::optional<uint32_t> unknown;
};

absl::StatusOr<GgufVocabulary> ReadGgufVocabulary(const GgufMetadata& metadata, int64_t vocab_size);

bool IsValidUtf8(absl::string_view text);

// The `model`, `normalizer`, `pre_tokenizer` and `decoder` of tokenizer.json.
struct TokenizerParts {
  Json model;
  Json normalizer;
  Json pre_tokenizer;
  Json decoder;
  bool adds_bos = false;  // unless the file says otherwise
};
// Byte-level BPE ("gpt2").
absl::StatusOr<TokenizerParts> ByteLevelTokenizer(const GgufMetadata& metadata, const GgufVocabulary& vocabulary);
// SentencePiece BPE ("llama"): its scores become a list of merges.
absl::StatusOr<TokenizerParts> SentencePieceTokenizer(const GgufMetadata& metadata, const GgufVocabulary& vocabulary);

}  // namespace slmmesh
