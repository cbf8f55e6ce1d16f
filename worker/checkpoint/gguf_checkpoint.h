// A GGUF file as a Checkpoint.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "worker/checkpoint/checkpoint.h"

namespace slmmesh {

// `sha256`: lowercase or uppercase hex of the whole file, or empty.
absl::StatusOr<std::unique_ptr<Checkpoint>> OpenGgufFile(const std::string& path, const std::string& sha256);

}  // namespace slmmesh
