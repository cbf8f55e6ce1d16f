// For tests: a tiny Llama with random weights, as a GGUF file.
#pragma once

#include <string>

namespace slmmesh {

// 128 positions, a vocabulary of 40; always the same weights.
void WriteTinyModel(const std::string& path);

}  // namespace slmmesh
