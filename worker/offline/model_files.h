// The files of a model folder besides its weights.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "nlohmann/json_fwd.hpp"
#include "worker/checkpoint/checkpoint.h"

namespace slmmesh {

// config.json (with `quantization_config`), tokenizer, template and the like into `folder`: copied from the folder
// `input`, or written from what `checkpoint` knows when `input` is a GGUF file.
absl::Status WriteModelFiles(const std::string& input, const Checkpoint& checkpoint,
                             const nlohmann::json& quantization_config, const std::string& folder);

// MANIFEST.sha256, as sha256sum --check reads it: every file of `folder`, by name.
absl::Status WriteManifest(const std::string& folder);

}  // namespace slmmesh
