#include "worker/server/model_info.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "worker/model/kv_type.h"

namespace slmmesh {
namespace {

v1::GenerationDefaults DescribeDefaults(const GenerationConfig& generation) {
  v1::GenerationDefaults defaults;
  if (!std::isnan(generation.temperature)) defaults.set_temperature(generation.temperature);
  if (!std::isnan(generation.top_p)) defaults.set_top_p(generation.top_p);
  if (!std::isnan(generation.min_p)) defaults.set_min_p(generation.min_p);
  if (!std::isnan(generation.repetition_penalty)) defaults.set_repetition_penalty(generation.repetition_penalty);
  if (generation.top_k >= 0) defaults.set_top_k(static_cast<uint32_t>(generation.top_k));
  return defaults;
}

std::string SpeculationKey(const WorkerConfig& config, const Checkpoint* draft) {
  if (config.speculative_method == SpeculationMethod::kNone) return "";
  return absl::StrCat("/", SpeculationMethodName(config.speculative_method), "-",
                      static_cast<int>(config.speculative_rule), draft == nullptr ? "" : "@",
                      draft == nullptr ? "" : draft->digest());
}

int64_t MaxModelLen(const WorkerConfig& config, const Checkpoint& checkpoint) {
  return config.max_model_len != 0 ? config.max_model_len : checkpoint.config().max_positions;
}

}  // namespace

v1::ModelInfo DescribeModel(const WorkerConfig& config, const Checkpoint& checkpoint, int64_t created_unix_seconds) {
  v1::ModelInfo info;
  info.set_served_name(config.served_model_name);
  info.set_architecture(ArchitectureName(checkpoint.config().architecture));
  info.set_vocab_size(static_cast<uint32_t>(checkpoint.config().vocab_size));
  info.set_max_model_len(static_cast<uint32_t>(MaxModelLen(config, checkpoint)));
  info.set_block_size(config.block_size);
  const TextAssets& text = checkpoint.text();
  info.set_tokenizer_json(text.tokenizer_json);
  info.set_chat_template(text.chat_template);
  info.set_bos_token(text.bos_token);
  info.set_eos_token(text.eos_token);
  info.mutable_eos_token_ids()->Add(text.eos_token_ids.begin(), text.eos_token_ids.end());
  *info.mutable_generation_defaults() = DescribeDefaults(checkpoint.generation());
  info.set_digest(checkpoint.digest());
  info.set_created_unix_seconds(created_unix_seconds);
  return info;
}

std::string ModelKey(const WorkerConfig& config, const Checkpoint& checkpoint, const Checkpoint* draft) {
  return absl::StrCat(config.served_model_name, "@", checkpoint.digest(), "/", WeightsName(config.weights), "/",
                      KvTypeName(config.kv_cache), "/", MaxModelLen(config, checkpoint), "/", config.block_size,
                      SpeculationKey(config, draft));
}

}  // namespace slmmesh
