// A tokenizer and a chat template for tests and benchmarks without a model: one token a byte, and ChatML.
#pragma once

#include <cstdint>
#include <string>

namespace slmmesh {

inline constexpr uint32_t kImStart = 256, kImEnd = 257, kEndOfText = 258, kByteVocabulary = 259;

// A Hugging Face tokenizer.json: the id of a byte is its value; then the three special tokens above.
std::string ByteTokenizerJson();
std::string ChatMlTemplate();

}  // namespace slmmesh
