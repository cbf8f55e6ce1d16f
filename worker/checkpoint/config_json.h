// config.json of Hugging Face transformers (4 and 5) to ModelConfig. What would change the numbers and is not
// implemented (experts, softcapping, …) is refused by name; what changes nothing is ignored
// (quantization_config.h reads how weights are quantized).
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "worker/checkpoint/json_fields.h"
#include "worker/checkpoint/model_config.h"

namespace slmmesh {

// `where` names the file in errors.
absl::StatusOr<ModelConfig> ParseConfigJson(const std::string& where, absl::string_view text);
absl::StatusOr<ModelConfig> ReadModelConfig(const JsonFields& fields);

}  // namespace slmmesh
