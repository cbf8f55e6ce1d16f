#include "worker/checkpoint/model_config.h"

#include "absl/strings/str_cat.h"

namespace slmmesh {

const char* ArchitectureName(Architecture architecture) {
  switch (architecture) {
    case Architecture::kLlama:
      return "llama";
    case Architecture::kMistral:
      return "mistral";
    case Architecture::kQwen2:
      return "qwen2";
    case Architecture::kQwen3:
      return "qwen3";
  }
  return "unknown";
}

absl::Status CheckModelConfig(const ModelConfig& config) {
  if (config.num_q_heads % config.num_kv_heads != 0) {
    return absl::InvalidArgumentError(absl::StrCat("the number of attention heads (", config.num_q_heads,
                                                   ") is not a multiple of the number of key-value heads (",
                                                   config.num_kv_heads, ")"));
  }
  if (config.head_dim % 2 != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("the head dimension (", config.head_dim, ") is odd: rotary embeddings need pairs"));
  }
  if (config.rope.type == RopeType::kDynamic && config.rotary_dim <= 2) {
    return absl::InvalidArgumentError("rope type dynamic needs a head dimension above 2");
  }
  if (!config.rope.frequency_factors.empty() &&
      static_cast<int64_t>(config.rope.frequency_factors.size()) != config.rotary_dim / 2) {
    return absl::InvalidArgumentError(absl::StrCat("there are ", config.rope.frequency_factors.size(),
                                                   " rope frequency factors; expected ", config.rotary_dim / 2,
                                                   " (half the rotary dimension)"));
  }
  return absl::OkStatus();
}

}  // namespace slmmesh
