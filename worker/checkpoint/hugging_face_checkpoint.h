// A Hugging Face folder as a Checkpoint: config.json, model.safetensors or its shards, and the text files.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "worker/checkpoint/checkpoint.h"

namespace slmmesh {

absl::StatusOr<std::unique_ptr<Checkpoint>> OpenHuggingFaceFolder(const std::string& folder);

}  // namespace slmmesh
