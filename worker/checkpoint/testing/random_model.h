// Tiny models with random weights, as the files that a Checkpoint reads.
#pragma once

#include <cmath>
#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "worker/checkpoint/tensor_table.h"
#include "worker/checkpoint/testing/gguf_builder.h"
#include "worker/checkpoint/testing/safetensors_builder.h"

namespace slmmesh {

// A small model of any family, consistent in itself.
inline ModelConfig TinyConfig(Architecture architecture) {
  ModelConfig config;
  config.architecture = architecture;
  config.hidden_size = 64;
  config.num_layers = 2;
  config.num_q_heads = 4;
  config.num_kv_heads = 2;
  config.head_dim = 16;
  config.rotary_dim = 16;
  config.intermediate_size = 96;
  config.vocab_size = 40;
  config.max_positions = 128;
  config.qkv_bias = architecture == Architecture::kQwen2;
  config.qk_norm = architecture == Architecture::kQwen3;
  config.sliding_window.assign(2, 0);
  return config;
}

// The config.json of such a model (default rope, no windows).
inline std::string ConfigJson(const ModelConfig& config) {
  static constexpr const char* kClasses[] = {"LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM",
                                             "Qwen3ForCausalLM"};
  const bool attention_bias = config.output_bias;
  return absl::StrCat(
      R"({"architectures": [")", kClasses[static_cast<int>(config.architecture)], R"("], "model_type": ")",
      ArchitectureName(config.architecture), R"(", "hidden_size": )", config.hidden_size, R"(, "num_hidden_layers": )",
      config.num_layers, R"(, "num_attention_heads": )", config.num_q_heads, R"(, "num_key_value_heads": )",
      config.num_kv_heads, R"(, "head_dim": )", config.head_dim, R"(, "intermediate_size": )", config.intermediate_size,
      R"(, "vocab_size": )", config.vocab_size, R"(, "max_position_embeddings": )", config.max_positions,
      R"(, "rms_norm_eps": )", config.rms_norm_epsilon, R"(, "rope_theta": )", config.rope.theta,
      R"(, "sliding_window": null, "hidden_act": "silu", "eos_token_id": 2, "tie_word_embeddings": )",
      config.tied_embeddings ? "true" : "false", R"(, "attention_bias": )", attention_bias ? "true" : "false",
      R"(, "mlp_bias": )", config.mlp_bias ? "true" : "false", "}");
}

// Name to values, for every tensor that `config` describes: matrices uniform in ±1.7/sqrt(columns), norms around 1,
// biases small. The same for the same seed.
inline std::map<std::string, std::vector<float>> RandomTensors(const ModelConfig& config, uint64_t seed) {
  std::map<std::string, std::vector<float>> tensors;
  std::mt19937_64 random(seed);
  for (const auto& [name, shape] : ExpectedTensors(config)) {
    const bool is_norm = shape.size() == 1 && !absl::EndsWith(name, ".bias");
    const size_t count = static_cast<size_t>(shape.size() == 1 ? shape[0] : shape[0] * shape[1]);
    const float scale = shape.size() == 1 ? 0.2f : 1.7f / std::sqrt(static_cast<float>(shape[1]));
    std::vector<float>& values = tensors[name];
    for (size_t i = 0; i < count; ++i) {
      const float unit = static_cast<float>(random() >> 40) / static_cast<float>(1 << 23) - 1.0f;
      values.push_back((is_norm ? 1.0f : 0.0f) + scale * unit);
    }
  }
  return tensors;
}

// The bytes of a model.safetensors.
inline std::string RandomSafetensors(const ModelConfig& config, TensorType type, uint64_t seed) {
  const std::map<std::string, std::vector<float>> tensors = RandomTensors(config, seed);
  SafetensorsBuilder builder;
  for (const auto& [name, shape] : ExpectedTensors(config)) builder.Add(name, type, shape, tensors.at(name));
  return builder.Build();
}

// GGUF's name of a Hugging Face tensor.
inline std::string GgufName(const std::string& name) {
  return absl::StrReplaceAll(name, {{"model.embed_tokens", "token_embd"},
                                    {"model.norm", "output_norm"},
                                    {"lm_head", "output"},
                                    {"model.layers", "blk"},
                                    {"input_layernorm", "attn_norm"},
                                    {"post_attention_layernorm", "ffn_norm"},
                                    {"self_attn.q_proj", "attn_q"},
                                    {"self_attn.k_proj", "attn_k"},
                                    {"self_attn.v_proj", "attn_v"},
                                    {"self_attn.o_proj", "attn_output"},
                                    {"self_attn.q_norm", "attn_q_norm"},
                                    {"self_attn.k_norm", "attn_k_norm"},
                                    {"mlp.gate_proj", "ffn_gate"},
                                    {"mlp.up_proj", "ffn_up"},
                                    {"mlp.down_proj", "ffn_down"}});
}

// As converters write Llama's query and key rows: within a head, the first and the second half alternate.
inline std::vector<float> InterleaveRows(const std::vector<float>& values, int64_t heads, int64_t rows) {
  const size_t columns = values.size() / static_cast<size_t>(rows);
  const int64_t head_dim = rows / heads;
  std::vector<float> result;
  for (int64_t head = 0; head < heads; ++head) {
    for (int64_t pair = 0; pair < head_dim / 2; ++pair) {
      for (const int64_t half : {0, 1}) {
        const int64_t row = head * head_dim + half * (head_dim / 2) + pair;
        const auto begin = values.begin() + static_cast<std::ptrdiff_t>(static_cast<size_t>(row) * columns);
        result.insert(result.end(), begin, begin + static_cast<std::ptrdiff_t>(columns));
      }
    }
  }
  return result;
}

// The shape's metadata (llama, qwen2, qwen3).
inline void AddShape(const ModelConfig& config, GgufBuilder& builder) {
  const std::string prefix = absl::StrCat(ArchitectureName(config.architecture), ".");
  const auto add = [&](const char* key, int64_t value) {
    builder.AddInteger(prefix + key, static_cast<uint32_t>(value));
  };
  builder.AddString("general.architecture", ArchitectureName(config.architecture));
  add("context_length", config.max_positions);
  add("embedding_length", config.hidden_size);
  add("block_count", config.num_layers);
  add("feed_forward_length", config.intermediate_size);
  add("attention.head_count", config.num_q_heads);
  add("attention.head_count_kv", config.num_kv_heads);
  add("attention.key_length", config.head_dim);
  builder.AddFloat(prefix + "attention.layer_norm_rms_epsilon", static_cast<float>(config.rms_norm_epsilon));
  builder.AddFloat(prefix + "rope.freq_base", static_cast<float>(config.rope.theta));
}

// The tensors of RandomTensors: matrices in `type`, vectors in F32.
inline void AddRandomTensors(const ModelConfig& config, TensorType type, uint64_t seed, GgufBuilder& builder) {
  std::map<std::string, std::vector<float>> tensors = RandomTensors(config, seed);
  for (const auto& [name, shape] : ExpectedTensors(config)) {
    std::vector<float>& values = tensors.at(name);
    const bool is_query = absl::StrContains(name, "q_proj");
    if (config.architecture == Architecture::kLlama && (is_query || absl::StrContains(name, "k_proj"))) {
      values = InterleaveRows(values, is_query ? config.num_q_heads : config.num_kv_heads, shape[0]);
    }
    builder.AddTensor(GgufName(name), shape.size() == 1 ? TensorType::kF32 : type, shape, values);
  }
}

// A byte-level vocabulary of `size` tokens (at least 12): three control tokens, letters, and some merges.
inline void AddTinyVocabulary(int64_t size, GgufBuilder& builder) {
  std::vector<std::string> tokens = {"<|endoftext|>", "<|im_start|>", "<|im_end|>", "a", "b", "c", "\u0120", "1", "ab",
                                     "abc",           "\u0120a",      "<tool>"};
  std::vector<int32_t> types = {3, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 4};
  for (int64_t id = static_cast<int64_t>(tokens.size()); id < size; ++id) {
    tokens.push_back(absl::StrCat("[PAD", id, "]"));
    types.push_back(5);
  }
  builder.AddString("tokenizer.ggml.model", "gpt2")
      .AddString("tokenizer.ggml.pre", "smollm")
      .AddStrings("tokenizer.ggml.tokens", tokens)
      .AddIntegers("tokenizer.ggml.token_type", types)
      .AddStrings("tokenizer.ggml.merges", {"a b", "ab c", "\u0120 a"})
      .AddInteger("tokenizer.ggml.bos_token_id", 1)
      .AddInteger("tokenizer.ggml.eos_token_id", 2)
      .AddString("tokenizer.chat_template", "{{ messages[0].content }}");
}

// The bytes of a whole GGUF file.
inline std::string RandomGguf(const ModelConfig& config, TensorType type, uint64_t seed) {
  GgufBuilder builder;
  AddShape(config, builder);
  AddTinyVocabulary(config.vocab_size, builder);
  AddRandomTensors(config, type, seed, builder);
  return builder.Build();
}

}  // namespace slmmesh
