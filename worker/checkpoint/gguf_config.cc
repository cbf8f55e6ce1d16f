#include "worker/checkpoint/gguf_config.h"

#include <cmath>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/status.h"

namespace slmmesh {
namespace {

constexpr double kMaxFactor = 1e6;

const TensorView* FindTensor(absl::Span<const TensorView> tensors, absl::string_view name) {
  for (const TensorView& tensor : tensors) {
    if (tensor.name == name) return &tensor;
  }
  return nullptr;
}

bool AnyEndsWith(absl::Span<const TensorView> tensors, absl::string_view ending) {
  for (const TensorView& tensor : tensors) {
    if (absl::EndsWith(tensor.name, ending)) return true;
  }
  return false;
}

absl::StatusOr<Architecture> ReadArchitecture(const GgufMetadata& metadata) {
  ASSIGN_OR_RETURN(const std::string name, metadata.String("general.architecture"));
  if (name == "llama") return Architecture::kLlama;  // Mistral, too: converters write it as Llama
  if (name == "qwen2") return Architecture::kQwen2;
  if (name == "qwen3") return Architecture::kQwen3;
  return metadata.Error("general.architecture", "one of llama, qwen2, qwen3");
}

// Keys that change the numbers and are not implemented, unless they hold the value that changes nothing.
absl::Status RefuseUnsupported(const GgufMetadata& metadata, const std::string& prefix) {
  static constexpr std::pair<const char*, double> kNeutral[] = {
      {"expert_count", 0},
      {"expert_used_count", 0},
      {"attention.sliding_window", 0},
      {"attention.clamp_kqv", 0},
      {"attention.max_alibi_bias", 0},
      {"attention.scale", 0},
      {"attn_logit_softcapping", 0},
      {"final_logit_softcapping", 0},
      {"logit_scale", 0},
      {"residual_scale", 0},
      {"embedding_scale", 0},
      {"rope.scaling.yarn_log_multiplier", 0},
      {"rope.scaling.yarn_ext_factor", 1},
      {"rope.scaling.yarn_attn_factor", 1},
  };
  for (const auto& [name, neutral] : kNeutral) {
    const std::string key = absl::StrCat(prefix, name);
    if (metadata.Find(key) == nullptr) continue;
    const absl::StatusOr<double> value = metadata.Number(key, neutral, neutral);
    if (!value.ok()) return metadata.Error(key, absl::StrCat("no such key or ", neutral, ": it is not supported"));
  }
  ASSIGN_OR_RETURN(const bool causal, metadata.BoolOr(prefix + "attention.causal", true));
  if (!causal) return metadata.Error(prefix + "attention.causal", "true");
  if (metadata.Find("split.count") == nullptr) return absl::OkStatus();
  return metadata.Integer("split.count", 0, 1).status();  // a model in several files
}

absl::Status ReadShape(const GgufMetadata& metadata, const std::string& prefix, ModelConfig& config) {
  ASSIGN_OR_RETURN(config.hidden_size, metadata.Integer(prefix + "embedding_length", 1, kMaxHiddenSize));
  ASSIGN_OR_RETURN(config.intermediate_size, metadata.Integer(prefix + "feed_forward_length", 1, kMaxIntermediateSize));
  ASSIGN_OR_RETURN(config.num_layers, metadata.Integer(prefix + "block_count", 1, kMaxLayers));
  ASSIGN_OR_RETURN(config.max_positions, metadata.Integer(prefix + "context_length", 1, kMaxPositions));
  ASSIGN_OR_RETURN(config.num_q_heads, metadata.Integer(prefix + "attention.head_count", 1, kMaxHeads));
  ASSIGN_OR_RETURN(config.num_kv_heads,
                   metadata.IntegerOr(prefix + "attention.head_count_kv", config.num_q_heads, 1, config.num_q_heads));
  ASSIGN_OR_RETURN(config.rms_norm_epsilon, metadata.Number(prefix + "attention.layer_norm_rms_epsilon", 0, 1));

  const std::string key_length = prefix + "attention.key_length";
  const int64_t natural = config.hidden_size / config.num_q_heads;
  if (metadata.Find(key_length) == nullptr &&
      (natural * config.num_q_heads != config.hidden_size || natural < 2 || natural > kMaxHeadDim)) {
    return metadata.Error(
        key_length, absl::StrCat("an integer from 2 to ", kMaxHeadDim, ", as embedding_length ", config.hidden_size,
                                 " over head_count ", config.num_q_heads, " is not one"));
  }
  ASSIGN_OR_RETURN(config.head_dim, metadata.IntegerOr(key_length, natural, 2, kMaxHeadDim));
  for (const char* name : {"attention.value_length", "rope.dimension_count"}) {
    const std::string key = prefix + name;
    ASSIGN_OR_RETURN(const int64_t size, metadata.IntegerOr(key, config.head_dim, 0, kMaxHeadDim));
    if (size != config.head_dim) return metadata.Error(key, absl::StrCat(config.head_dim, ", the head dimension"));
  }
  config.rotary_dim = config.head_dim;
  config.sliding_window.assign(static_cast<size_t>(config.num_layers), 0);
  return absl::OkStatus();
}

absl::Status ReadRope(const GgufMetadata& metadata, const std::string& prefix, ModelConfig& config) {
  RopeConfig& rope = config.rope;
  ASSIGN_OR_RETURN(rope.theta, metadata.NumberOr(prefix + "rope.freq_base", 10000.0, 1.0001, 1e12));
  // Old files have a linear factor alone. 0 means 1 there.
  const std::string factor_key = prefix + "rope.scaling.factor";
  const std::string old_key = prefix + "rope.scale_linear";
  ASSIGN_OR_RETURN(const double old_factor, metadata.NumberOr(old_key, 1, 0, kMaxFactor));
  ASSIGN_OR_RETURN(double factor, metadata.NumberOr(factor_key, old_factor, 0, kMaxFactor));
  if (factor == 0) factor = 1;
  if (factor < 1) return metadata.Error(metadata.Find(factor_key) != nullptr ? factor_key : old_key, "at least 1");
  const std::string type_key = prefix + "rope.scaling.type";
  ASSIGN_OR_RETURN(const std::string type, metadata.StringOr(type_key, "linear"));
  if (type != "none" && type != "linear" && type != "yarn") return metadata.Error(type_key, "none, linear or yarn");
  if (type == "none" || factor == 1) return absl::OkStatus();

  rope.factor = factor;
  rope.type = type == "yarn" ? RopeType::kYarn : RopeType::kLinear;
  if (type == "linear") return absl::OkStatus();
  ASSIGN_OR_RETURN(rope.original_max_positions, metadata.IntegerOr(prefix + "rope.scaling.original_context_length",
                                                                   config.max_positions, 1, kMaxPositions));
  ASSIGN_OR_RETURN(rope.beta_fast, metadata.NumberOr(prefix + "rope.scaling.yarn_beta_fast", 32, 1e-6, kMaxFactor));
  ASSIGN_OR_RETURN(rope.beta_slow, metadata.NumberOr(prefix + "rope.scaling.yarn_beta_slow", 1, 1e-6, kMaxFactor));
  // GGUF's factor comes on top of the derived one.
  const std::string attention_key = prefix + "rope.scaling.attn_factor";
  ASSIGN_OR_RETURN(const double attention, metadata.NumberOr(attention_key, 1, 1e-6, kMaxFactor));
  if (attention != 1) rope.attention_factor = attention * (0.1 * std::log(factor) + 1);
  return absl::OkStatus();
}

absl::Status ReadRopeFactors(const GgufMetadata& metadata, absl::Span<const TensorView> tensors, ModelConfig& config) {
  const TensorView* tensor = FindTensor(tensors, kRopeFactorsName);
  if (tensor == nullptr) return absl::OkStatus();
  const std::string where = absl::StrCat(metadata.where(), ": tensor `", kRopeFactorsName, "`");
  if (tensor->shape != std::vector<int64_t>{config.rotary_dim / 2}) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, " has the wrong shape; expected ", config.rotary_dim / 2, " factors"));
  }
  if (config.rope.type != RopeType::kDefault) {
    return absl::InvalidArgumentError(absl::StrCat(where, " is there; expected it only without rope.scaling"));
  }
  config.rope.frequency_factors.resize(static_cast<size_t>(config.rotary_dim / 2));
  ReadTensor(*tensor, 0, 1, 0, tensor->columns(), config.rope.frequency_factors.data());
  for (const float factor : config.rope.frequency_factors) {
    if (!(factor > 0 && factor <= kMaxFactor)) {
      return absl::InvalidArgumentError(absl::StrCat(where, " holds ", factor, "; expected positive factors"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

std::optional<std::string> HuggingFaceName(const std::string& gguf_name) {
  static constexpr std::pair<const char*, const char*> kNames[] = {{"token_embd.weight", "model.embed_tokens.weight"},
                                                                   {"output_norm.weight", "model.norm.weight"},
                                                                   {"output.weight", "lm_head.weight"}};
  static constexpr std::pair<const char*, const char*> kLayerNames[] = {
      {"attn_norm", "input_layernorm"},    {"ffn_norm", "post_attention_layernorm"},
      {"attn_q", "self_attn.q_proj"},      {"attn_k", "self_attn.k_proj"},
      {"attn_v", "self_attn.v_proj"},      {"attn_output", "self_attn.o_proj"},
      {"attn_q_norm", "self_attn.q_norm"}, {"attn_k_norm", "self_attn.k_norm"},
      {"ffn_gate", "mlp.gate_proj"},       {"ffn_up", "mlp.up_proj"},
      {"ffn_down", "mlp.down_proj"}};
  for (const auto& [gguf, hugging_face] : kNames) {
    if (gguf_name == gguf) return hugging_face;
  }
  const std::vector<std::string> parts = absl::StrSplit(gguf_name, '.');  // blk, layer, name, weight or bias
  if (parts.size() != 4 || parts[0] != "blk" || (parts[3] != "weight" && parts[3] != "bias")) return std::nullopt;
  for (const auto& [gguf, hugging_face] : kLayerNames) {
    if (parts[2] == gguf) return absl::StrCat("model.layers.", parts[1], ".", hugging_face, ".", parts[3]);
  }
  return std::nullopt;
}

absl::StatusOr<ModelConfig> ReadGgufConfig(const GgufMetadata& metadata, absl::Span<const TensorView> tensors) {
  ModelConfig config;
  ASSIGN_OR_RETURN(config.architecture, ReadArchitecture(metadata));
  const std::string prefix = absl::StrCat(ArchitectureName(config.architecture), ".");
  RETURN_IF_ERROR(RefuseUnsupported(metadata, prefix));
  RETURN_IF_ERROR(ReadShape(metadata, prefix, config));
  RETURN_IF_ERROR(ReadRope(metadata, prefix, config));
  RETURN_IF_ERROR(ReadRopeFactors(metadata, tensors, config));

  const TensorView* embeddings = FindTensor(tensors, "token_embd.weight");
  if (embeddings == nullptr || embeddings->shape.size() != 2 || embeddings->rows() > kMaxVocabSize) {
    return absl::InvalidArgumentError(absl::StrCat(metadata.where(), ": tensor `token_embd.weight` is missing or not ",
                                                   "a matrix of at most ", kMaxVocabSize, " rows"));
  }
  config.vocab_size = embeddings->rows();
  config.tied_embeddings = FindTensor(tensors, "output.weight") == nullptr;
  config.qkv_bias = config.architecture == Architecture::kQwen2 || AnyEndsWith(tensors, ".attn_q.bias");
  config.output_bias = AnyEndsWith(tensors, ".attn_output.bias");
  config.mlp_bias = AnyEndsWith(tensors, ".ffn_gate.bias");
  config.qk_norm = config.architecture == Architecture::kQwen3;
  RETURN_IF_ERROR(Annotate(CheckModelConfig(config), metadata.where()));
  return config;
}

}  // namespace slmmesh
