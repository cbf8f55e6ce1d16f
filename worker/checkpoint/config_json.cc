#include "worker/checkpoint/config_json.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status.h"
#include "worker/checkpoint/rope_json.h"

namespace slmmesh {
namespace {

struct Family {
  Architecture architecture;
  const char* class_name;
  const char* model_type;
};
constexpr Family kFamilies[] = {
    {Architecture::kLlama, "LlamaForCausalLM", "llama"},
    {Architecture::kMistral, "MistralForCausalLM", "mistral"},
    {Architecture::kQwen2, "Qwen2ForCausalLM", "qwen2"},
    {Architecture::kQwen3, "Qwen3ForCausalLM", "qwen3"},
};
constexpr const char* kKnownClasses = "one of LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM";

// Fields of relatives of these families: each changes the numbers, and none is implemented.
struct RefusedField {
  const char* name;
  const char* reason;
};
constexpr RefusedField kRefusedFields[] = {
    {"compression_config", "weights that are not compressed"},
    {"num_experts", "a dense model (mixtures of experts are not supported)"},
    {"num_local_experts", "a dense model (mixtures of experts are not supported)"},
    {"n_routed_experts", "a dense model (mixtures of experts are not supported)"},
    {"num_experts_per_tok", "a dense model (mixtures of experts are not supported)"},
    {"final_logit_softcapping", "no softcapping"},
    {"attn_logit_softcapping", "no softcapping"},
    {"query_pre_attn_scalar", "attention scaled by the head dimension"},
    {"embedding_multiplier", "embeddings that are not scaled"},
    {"residual_multiplier", "residuals that are not scaled"},
    {"attention_multiplier", "attention scaled by the head dimension"},
    {"logits_scaling", "logits that are not scaled"},
    {"logit_scale", "logits that are not scaled"},
    {"scale_emb", "embeddings that are not scaled"},
    {"no_rope_layers", "rotary embeddings in every layer"},
    {"use_qk_norm", "Qwen3ForCausalLM for query and key norms"},
    {"qk_layernorm", "Qwen3ForCausalLM for query and key norms"},
    {"add_cross_attention", "a decoder alone"},
    {"is_encoder_decoder", "a decoder alone"},
    {"use_bidirectional_attention", "causal attention"},
};

bool IsNeutral(const Json& value) {
  return value.is_null() || value == false || (value.is_number() && value == 0) ||
         ((value.is_object() || value.is_array()) && value.empty());
}

absl::Status RefuseUnsupported(const JsonFields& fields) {
  for (const RefusedField& refused : kRefusedFields) {
    const Json* value = fields.Find(refused.name);
    if (value != nullptr && !IsNeutral(*value)) {
      return fields.Error(refused.name, absl::StrCat("no such field: this program serves ", refused.reason));
    }
  }
  ASSIGN_OR_RETURN(const std::string activation, fields.StringOr("hidden_act", "silu"));
  if (activation != "silu") return fields.Error("hidden_act", "silu");
  return absl::OkStatus();
}

absl::StatusOr<Family> ReadFamily(const JsonFields& fields) {
  ASSIGN_OR_RETURN(const std::string model_type, fields.StringOr("model_type", ""));
  const Json* classes = fields.Find("architectures");
  if (classes == nullptr) {
    for (const Family& family : kFamilies) {
      if (model_type == family.model_type) return family;
    }
    return fields.Error("architectures", kKnownClasses);
  }
  if (!classes->is_array() || classes->size() != 1 || !classes->front().is_string()) {
    return fields.Error("architectures", absl::StrCat("a list of one name: ", kKnownClasses));
  }
  for (const Family& family : kFamilies) {
    if (classes->front() != family.class_name) continue;
    if (!model_type.empty() && model_type != family.model_type) {
      return fields.Error("model_type", absl::StrCat(family.model_type, ", as `architectures` says"));
    }
    return family;
  }
  return fields.Error("architectures", kKnownClasses);
}

absl::Status ReadShape(const JsonFields& fields, ModelConfig& config) {
  ASSIGN_OR_RETURN(config.hidden_size, fields.Integer("hidden_size", 1, kMaxHiddenSize));
  ASSIGN_OR_RETURN(config.intermediate_size, fields.Integer("intermediate_size", 1, kMaxIntermediateSize));
  ASSIGN_OR_RETURN(config.num_layers, fields.Integer("num_hidden_layers", 1, kMaxLayers));
  ASSIGN_OR_RETURN(config.num_q_heads, fields.Integer("num_attention_heads", 1, kMaxHeads));
  ASSIGN_OR_RETURN(config.vocab_size, fields.Integer("vocab_size", 1, kMaxVocabSize));
  ASSIGN_OR_RETURN(config.max_positions, fields.Integer("max_position_embeddings", 1, kMaxPositions));
  ASSIGN_OR_RETURN(config.rms_norm_epsilon, fields.NumberOr("rms_norm_eps", 1e-6, 0, 1));
  ASSIGN_OR_RETURN(config.tied_embeddings, fields.BoolOr("tie_word_embeddings", false));

  // transformers' defaults for an absent field differ between families and fit one size of model each, so only Llama's
  // natural one (all heads) is taken. null means all heads everywhere.
  if (config.architecture != Architecture::kLlama && !fields.Mentions("num_key_value_heads")) {
    return fields.Error("num_key_value_heads", absl::StrCat("an integer from 1 to ", config.num_q_heads));
  }
  ASSIGN_OR_RETURN(config.num_kv_heads,
                   fields.IntegerOr("num_key_value_heads", config.num_q_heads, 1, config.num_q_heads));
  if (fields.Has("head_dim")) {
    ASSIGN_OR_RETURN(config.head_dim, fields.Integer("head_dim", 2, kMaxHeadDim));
  } else if (config.architecture == Architecture::kQwen3) {
    config.head_dim = 128;
  } else {
    config.head_dim = config.hidden_size / config.num_q_heads;
    if (config.head_dim * config.num_q_heads != config.hidden_size || config.head_dim > kMaxHeadDim) {
      return fields.Error(
          "head_dim", absl::StrCat("an even integer from 2 to ", kMaxHeadDim, ", as hidden_size ", config.hidden_size,
                                   " over num_attention_heads ", config.num_q_heads, " is not one"));
    }
  }
  config.rotary_dim = config.head_dim;
  return absl::OkStatus();
}

absl::Status ReadBiases(const JsonFields& fields, ModelConfig& config) {
  ASSIGN_OR_RETURN(const bool attention_bias, fields.BoolOr("attention_bias", false));
  ASSIGN_OR_RETURN(const bool mlp_bias, fields.BoolOr("mlp_bias", false));
  switch (config.architecture) {
    case Architecture::kLlama:
      config.qkv_bias = attention_bias;
      config.output_bias = attention_bias;
      config.mlp_bias = mlp_bias;
      return absl::OkStatus();
    case Architecture::kMistral:
      if (attention_bias) return fields.Error("attention_bias", "false: Mistral has no biases");
      break;
    case Architecture::kQwen2:
      config.qkv_bias = true;  // by definition: the family has no such field
      break;
    case Architecture::kQwen3:
      config.qkv_bias = attention_bias;
      config.output_bias = attention_bias;
      config.qk_norm = true;
      break;
  }
  if (mlp_bias) return fields.Error("mlp_bias", "false: only Llama has it");
  return absl::OkStatus();
}

// `layer_types` as one flag a layer: whether attention slides there. `fallback` for a config without it.
absl::StatusOr<std::vector<bool>> ReadSlidingLayers(const JsonFields& fields, std::vector<bool> fallback) {
  const Json* types = fields.Find("layer_types");
  if (types == nullptr) return fallback;
  const std::string expected =
      absl::StrCat("a list of ", fallback.size(), " times full_attention or sliding_attention");
  if (!types->is_array() || types->size() != fallback.size()) return fields.Error("layer_types", expected);
  std::vector<bool> sliding;
  for (const Json& type : *types) {
    if (type != "full_attention" && type != "sliding_attention") return fields.Error("layer_types", expected);
    sliding.push_back(type == "sliding_attention");
  }
  return sliding;
}

absl::Status ReadSlidingWindows(const JsonFields& fields, ModelConfig& config) {
  const size_t layers = static_cast<size_t>(config.num_layers);
  config.sliding_window.assign(layers, 0);
  int64_t window = 0;  // 0: none
  std::vector<bool> sliding(layers, false);
  switch (config.architecture) {
    case Architecture::kLlama:
      break;  // a `sliding_window` left in a Llama config means nothing in transformers
    case Architecture::kMistral: {
      const int64_t absent = fields.Mentions("sliding_window") ? 0 : 4096;
      ASSIGN_OR_RETURN(window, fields.IntegerOr("sliding_window", absent, 1, kMaxPositions));
      sliding.assign(layers, window != 0);
      break;
    }
    case Architecture::kQwen2:
    case Architecture::kQwen3: {
      ASSIGN_OR_RETURN(const bool use_window, fields.BoolOr("use_sliding_window", false));
      if (!use_window) break;
      const int64_t absent = fields.Mentions("sliding_window") ? 0 : 4096;
      ASSIGN_OR_RETURN(window, fields.IntegerOr("sliding_window", absent, 1, kMaxPositions));
      ASSIGN_OR_RETURN(const int64_t first, fields.IntegerOr("max_window_layers", 28, 0, kMaxLayers));
      for (size_t l = 0; l < layers; ++l) sliding[l] = window != 0 && static_cast<int64_t>(l) >= first;
      break;
    }
  }
  const bool per_layer = config.architecture == Architecture::kQwen2 || config.architecture == Architecture::kQwen3;
  ASSIGN_OR_RETURN(const std::vector<bool> stated, ReadSlidingLayers(fields, sliding));
  if (!per_layer && stated != sliding) {
    return fields.Error("layer_types", "the same as sliding_window says: this family has one kind of layer");
  }
  for (size_t l = 0; l < layers; ++l) {
    if (stated[l] && window == 0) return fields.Error("layer_types", "no sliding_attention without a sliding window");
    config.sliding_window[l] = stated[l] ? window : 0;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ModelConfig> ReadModelConfig(const JsonFields& fields) {
  ModelConfig config;
  ASSIGN_OR_RETURN(const Family family, ReadFamily(fields));
  config.architecture = family.architecture;
  RETURN_IF_ERROR(RefuseUnsupported(fields));
  RETURN_IF_ERROR(ReadShape(fields, config));
  RETURN_IF_ERROR(ReadBiases(fields, config));
  RETURN_IF_ERROR(ReadSlidingWindows(fields, config));
  ASSIGN_OR_RETURN(config.rope, ReadRopeConfig(fields, config.max_positions));
  RETURN_IF_ERROR(Annotate(CheckModelConfig(config), fields.where()));
  return config;
}

absl::StatusOr<ModelConfig> ParseConfigJson(const std::string& where, absl::string_view text) {
  ASSIGN_OR_RETURN(const Json json, ParseJson(where, text));
  ASSIGN_OR_RETURN(const JsonFields fields, JsonFields::Create(where, json));
  return ReadModelConfig(fields);
}

}  // namespace slmmesh
