// For tests: a tiny Llama with random weights, as a GGUF file.
#pragma once

#include <cstdint>
#include <string>

namespace slmmesh {

// 128 positions, a vocabulary of 40; always the same weights. With `further_layers` more than the family's tiny model.
void WriteTinyModel(const std::string& path, int64_t further_layers = 0);

}  // namespace slmmesh
