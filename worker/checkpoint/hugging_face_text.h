// The text side of a Hugging Face folder: tokenizer, chat template, special tokens, generation defaults.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/checkpoint/json_fields.h"

namespace slmmesh {

struct HuggingFaceText {
  TextAssets text;
  GenerationConfig generation;
};

// `config`: config.json, for the end-of-sequence ids of a folder without generation_config.json.
absl::StatusOr<HuggingFaceText> ReadHuggingFaceText(const std::string& folder, const JsonFields& config,
                                                    int64_t vocab_size);

// "" for a file that is not there.
absl::StatusOr<std::string> ReadOptionalFile(const std::string& path);

}  // namespace slmmesh
