// A GGUF file's vocabulary as a Hugging Face tokenizer.json, so that one tokenizer serves both kinds of files.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/checkpoint/gguf_file.h"

namespace slmmesh {

// Tokenizer, chat template and special tokens. Refused: models other than gpt2 (byte-level BPE) and llama
// (SentencePiece), pre-tokenizers that are not known here, and vocabularies that contradict themselves.
absl::StatusOr<TextAssets> ReadGgufText(const GgufMetadata& metadata, int64_t vocab_size);

}  // namespace slmmesh
