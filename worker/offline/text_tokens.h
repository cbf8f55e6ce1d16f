// The beginning of a text file as tokens.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/checkpoint/checkpoint.h"

namespace slmmesh {

struct TextTokens {
  std::vector<uint32_t> prefix;  // what the tokenizer puts before every text (a BOS), maybe nothing
  std::vector<uint32_t> tokens;  // at most as many as were asked for
};

absl::StatusOr<TextTokens> ReadTextTokens(const std::string& path, const Checkpoint& checkpoint, int64_t max_tokens);

}  // namespace slmmesh
