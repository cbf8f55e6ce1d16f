#include "worker/offline/text_tokens.h"

#include <algorithm>
#include <fstream>
#include <memory>

#include "absl/strings/str_cat.h"
#include "common/status.h"
#include "text/text.h"

namespace slmmesh {
namespace {

// More than any tokenizer makes of one token on average; a text of longer ones gives fewer tokens.
constexpr int64_t kBytesPerToken = 16;

// The first `max_bytes`, less what is left of a character at their end.
absl::StatusOr<std::string> ReadBeginning(const std::string& path, int64_t max_bytes) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError(absl::StrCat(path, ": cannot be read"));
  std::string text(static_cast<size_t>(max_bytes), '\0');
  file.read(text.data(), max_bytes);
  text.resize(static_cast<size_t>(file.gcount()));
  if (static_cast<int64_t>(text.size()) < max_bytes) return text;
  while (!text.empty() && (static_cast<uint8_t>(text.back()) & 0xc0u) == 0x80u) text.pop_back();
  if (!text.empty() && static_cast<uint8_t>(text.back()) >= 0x80u) text.pop_back();
  return text;
}

}  // namespace

absl::StatusOr<TextTokens> ReadTextTokens(const std::string& path, const Checkpoint& checkpoint, int64_t max_tokens) {
  if (checkpoint.text().tokenizer_json.empty()) {
    return absl::InvalidArgumentError("the model has no tokenizer.json; expected one beside its config.json");
  }
  ASSIGN_OR_RETURN(const std::string text, ReadBeginning(path, max_tokens * kBytesPerToken));
  ASSIGN_OR_RETURN(const std::shared_ptr<const text::Tokenizer> tokenizer,
                   text::Tokenizer::Create(checkpoint.text().tokenizer_json));
  TextTokens result;
  ASSIGN_OR_RETURN(result.prefix, tokenizer->Encode("", true));
  absl::StatusOr<std::vector<uint32_t>> tokens = tokenizer->Encode(text, false);
  RETURN_IF_ERROR(Annotate(tokens.status(), path));
  tokens->resize(std::min(tokens->size(), static_cast<size_t>(max_tokens)));
  result.tokens = *std::move(tokens);
  return result;
}

}  // namespace slmmesh
