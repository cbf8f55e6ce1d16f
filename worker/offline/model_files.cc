#include "worker/offline/model_files.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/files.h"
#include "common/status.h"
#include "worker/checkpoint/json_fields.h"

namespace slmmesh {
namespace {

constexpr const char* kManifest = "MANIFEST.sha256";
constexpr size_t kMaxFiles = 256;

bool IsCopied(const std::string& name) {
  static constexpr const char* kNames[] = {"tokenizer.json",
                                           "tokenizer_config.json",
                                           "special_tokens_map.json",
                                           "tokenizer.model",
                                           "vocab.json",
                                           "merges.txt",
                                           "added_tokens.json",
                                           "chat_template.json",
                                           "chat_template.jinja",
                                           "generation_config.json"};
  if (std::find(std::begin(kNames), std::end(kNames), name) != std::end(kNames)) return true;
  return absl::StartsWith(name, "LICENSE") || absl::StartsWith(name, "NOTICE");
}

// Names of the regular files, sorted.
absl::StatusOr<std::vector<std::string>> ListFiles(const std::string& folder) {
  std::error_code error;
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    if (entry.is_regular_file(error)) names.push_back(entry.path().filename().string());
    if (names.size() > kMaxFiles) {
      return absl::InvalidArgumentError(absl::StrCat(folder, ": holds more than ", kMaxFiles, " files"));
    }
  }
  if (error) return absl::UnavailableError(absl::StrCat(folder, ": cannot be listed: ", error.message()));
  std::sort(names.begin(), names.end());
  return names;
}

absl::Status WriteJson(const std::string& path, const Json& json) { return WriteFileAtomic(path, json.dump(2) + "\n"); }

absl::Status CopyFiles(const std::string& input, const Json& quantization_config, const std::string& folder) {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, ListFiles(input));
  for (const std::string& name : names) {
    if (!IsCopied(name)) continue;
    ASSIGN_OR_RETURN(const std::string bytes, ReadFile(absl::StrCat(input, "/", name)));
    RETURN_IF_ERROR(WriteFileAtomic(absl::StrCat(folder, "/", name), bytes));
  }
  ASSIGN_OR_RETURN(const std::string text, ReadFile(input + "/config.json"));
  ASSIGN_OR_RETURN(Json config, ParseJson(input + "/config.json", text));
  config["quantization_config"] = quantization_config;
  return WriteJson(folder + "/config.json", config);
}

absl::StatusOr<Json> RopeScaling(const RopeConfig& rope) {
  if (!rope.frequency_factors.empty()) {
    return absl::InvalidArgumentError(
        "rope_freqs.weight is a table of frequencies, which config.json cannot express; expected a file without it "
        "(convert the model's Hugging Face folder instead)");
  }
  switch (rope.type) {
    case RopeType::kDefault:
      return Json();
    case RopeType::kLinear:
      return Json{{"rope_type", "linear"}, {"factor", rope.factor}};
    case RopeType::kYarn: {
      Json json = {{"rope_type", "yarn"},
                   {"factor", rope.factor},
                   {"beta_fast", rope.beta_fast},
                   {"beta_slow", rope.beta_slow},
                   {"truncate", rope.truncate}};
      if (rope.original_max_positions != 0) json["original_max_position_embeddings"] = rope.original_max_positions;
      if (rope.attention_factor != 0) json["attention_factor"] = rope.attention_factor;
      return json;
    }
    case RopeType::kDynamic:
    case RopeType::kLlama3:
      break;  // GGUF has neither
  }
  return absl::InvalidArgumentError("this scaling of rotary embeddings cannot be converted");
}

absl::StatusOr<Json> ConfigJson(const ModelConfig& config, const TextAssets& text) {
  const bool is_llama = config.architecture == Architecture::kLlama;
  const bool is_qwen2 = config.architecture == Architecture::kQwen2;
  static constexpr const char* kClasses[] = {"LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM",
                                             "Qwen3ForCausalLM"};
  Json json = {{"architectures", {kClasses[static_cast<int>(config.architecture)]}},
               {"model_type", ArchitectureName(config.architecture)},
               {"hidden_size", config.hidden_size},
               {"intermediate_size", config.intermediate_size},
               {"num_hidden_layers", config.num_layers},
               {"num_attention_heads", config.num_q_heads},
               {"num_key_value_heads", config.num_kv_heads},
               {"head_dim", config.head_dim},
               {"vocab_size", config.vocab_size},
               {"max_position_embeddings", config.max_positions},
               {"rms_norm_eps", config.rms_norm_epsilon},
               {"rope_theta", config.rope.theta},
               {"hidden_act", "silu"},
               {"tie_word_embeddings", config.tied_embeddings},
               {"torch_dtype", "bfloat16"},
               {"eos_token_id", text.eos_token_ids}};
  if (!is_qwen2 && config.qkv_bias != config.output_bias) {
    return absl::InvalidArgumentError(
        "query, key and value have biases where the attention's output has none, which config.json cannot express");
  }
  if (!is_qwen2) json["attention_bias"] = config.qkv_bias;
  if (is_llama) json["mlp_bias"] = config.mlp_bias;
  ASSIGN_OR_RETURN(json["rope_scaling"], RopeScaling(config.rope));
  return json;
}

absl::Status WriteFiles(const Checkpoint& checkpoint, const Json& quantization_config, const std::string& folder) {
  const TextAssets& text = checkpoint.text();
  ASSIGN_OR_RETURN(Json config, ConfigJson(checkpoint.config(), text));
  config["quantization_config"] = quantization_config;
  RETURN_IF_ERROR(WriteJson(folder + "/config.json", config));
  RETURN_IF_ERROR(WriteFileAtomic(folder + "/tokenizer.json", text.tokenizer_json));
  Json tokenizer = {{"tokenizer_class", "PreTrainedTokenizerFast"}};
  if (!text.bos_token.empty()) tokenizer["bos_token"] = text.bos_token;
  if (!text.eos_token.empty()) tokenizer["eos_token"] = text.eos_token;
  if (!text.chat_template.empty()) tokenizer["chat_template"] = text.chat_template;
  return WriteJson(folder + "/tokenizer_config.json", tokenizer);
}

}  // namespace

absl::Status WriteModelFiles(const std::string& input, const Checkpoint& checkpoint, const Json& quantization_config,
                             const std::string& folder) {
  std::error_code error;
  if (std::filesystem::is_directory(input, error)) return CopyFiles(input, quantization_config, folder);
  return Annotate(WriteFiles(checkpoint, quantization_config, folder), input);
}

absl::Status WriteManifest(const std::string& folder) {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, ListFiles(folder));
  std::string lines;
  for (const std::string& name : names) {
    ASSIGN_OR_RETURN(const std::string digest, Sha256HexOfFile(absl::StrCat(folder, "/", name)));
    absl::StrAppend(&lines, digest, "  ", name, "\n");
  }
  return WriteFileAtomic(absl::StrCat(folder, "/", kManifest), lines);
}

}  // namespace slmmesh
