#include "worker/server/testing/tiny_model_file.h"

#include <fstream>

#include "worker/checkpoint/testing/random_model.h"

namespace slmmesh {

void WriteTinyModel(const std::string& path) {
  std::ofstream(path, std::ios::binary) << RandomGguf(TinyConfig(Architecture::kLlama), TensorType::kF32, 1);
}

}  // namespace slmmesh
