#include "worker/server/testing/tiny_model_file.h"

#include <fstream>

#include "worker/checkpoint/testing/random_model.h"

namespace slmmesh {

void WriteTinyModel(const std::string& path, int64_t further_layers) {
  ModelConfig config = TinyConfig(Architecture::kLlama);
  config.num_layers += further_layers;
  std::ofstream(path, std::ios::binary) << RandomGguf(config, TensorType::kF32, 1);
}

}  // namespace slmmesh
