// The model's shape from a GGUF file, and its tensors under Hugging Face's names.
#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "worker/checkpoint/gguf_file.h"
#include "worker/checkpoint/model_config.h"

namespace slmmesh {

// "blk.3.attn_q.weight" → "model.layers.3.self_attn.q_proj.weight". Nothing for a name that these families do not use.
std::optional<std::string> HuggingFaceName(const std::string& gguf_name);

// The table of rotary frequency factors: a part of the config, though a tensor of the file.
constexpr const char* kRopeFactorsName = "rope_freqs.weight";

// Some facts are in the tensors alone (biases, tied embeddings, vocabulary, frequency factors). `tensors` under their
// GGUF names.
absl::StatusOr<ModelConfig> ReadGgufConfig(const GgufMetadata& metadata, absl::Span<const TensorView> tensors);

}  // namespace slmmesh
