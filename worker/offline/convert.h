// `mesh convert`: a checkpoint, quantized, as a new folder in the compressed-tensors format.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "worker/offline/weight_encoder.h"

namespace slmmesh {

struct ConvertOptions {
  std::string input;   // a folder or a .gguf file
  std::string output;  // a folder that is not there yet
  StoredWeights weights = StoredWeights::kInt4;
  int64_t group = -1;  // columns that share a scale; 0: all of a row; -1: what suits the weights and the model
  // GPTQ instead of rounding to the nearest: the text to read. Integers alone. Empty: none.
  std::string calibration_text;
  int64_t calibration_tokens = 16384;  // of the text's beginning, at most
  int threads = 1;
  std::function<void(double fraction)> progress;  // or null
};

// Quantizes the layers' projections; embeddings, the head and vectors stay floats. Some rows are in memory at a time;
// to calibrate, the model in bf16 and some layers' moments as well.
// The folder appears whole or not at all.
absl::Status Convert(const ConvertOptions& options);

}  // namespace slmmesh
