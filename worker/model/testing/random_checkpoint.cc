#include "worker/model/testing/random_checkpoint.h"

#include <cmath>

#include "absl/strings/str_cat.h"

namespace slmmesh {
namespace {

int64_t Between(std::mt19937_64& random, int64_t low, int64_t high) {
  return std::uniform_int_distribution<int64_t>(low, high)(random);
}

bool Flip(std::mt19937_64& random) { return Between(random, 0, 1) == 1; }

RopeConfig RandomRope(std::mt19937_64& random) {
  RopeConfig rope;
  rope.type = static_cast<RopeType>(Between(random, 0, static_cast<int64_t>(RopeType::kYarn)));
  rope.factor = rope.type == RopeType::kDefault ? 1.0 : 4.0;
  rope.original_max_positions = 64;
  return rope;
}

}  // namespace

ModelConfig RandomModelConfig(std::mt19937_64& random) {
  ModelConfig config;
  config.architecture = static_cast<Architecture>(Between(random, 0, static_cast<int64_t>(Architecture::kQwen3)));
  config.hidden_size = 2 * Between(random, 8, 48);
  config.num_layers = Between(random, 1, 3);
  config.num_kv_heads = Between(random, 1, 9);
  config.num_q_heads = config.num_kv_heads * Between(random, 1, 3);
  config.head_dim = 2 * Between(random, 2, 16);
  config.intermediate_size = 2 * Between(random, 1, 100);
  config.vocab_size = Between(random, 3, 700);
  config.max_positions = 256;
  config.tied_embeddings = Flip(random);
  config.qkv_bias = config.architecture == Architecture::kQwen2 || Flip(random);
  config.output_bias = Flip(random);
  config.mlp_bias = Flip(random);
  config.qk_norm = config.architecture == Architecture::kQwen3;
  for (int64_t layer = 0; layer < config.num_layers; ++layer) {
    config.sliding_window.push_back(Flip(random) ? 0 : Between(random, 1, 40));
  }
  config.rotary_dim = Flip(random) ? config.head_dim : 2 * Between(random, 2, config.head_dim / 2);
  config.rope = RandomRope(random);
  return config;
}

ModelConfig SmallModelConfig(int64_t num_layers) {
  ModelConfig config;
  config.hidden_size = 32;
  config.num_layers = num_layers;
  config.num_q_heads = 4;
  config.num_kv_heads = 2;
  config.head_dim = config.rotary_dim = 8;
  config.intermediate_size = 64;
  config.vocab_size = 200;
  config.max_positions = 128;
  config.sliding_window.resize(num_layers);
  return config;
}

RandomCheckpoint::RandomCheckpoint(const ModelConfig& config, uint64_t seed)
    : config_(config), digest_(absl::StrCat(seed)), random_(seed) {
  const int64_t hidden = config.hidden_size;
  Add("model.embed_tokens.weight", {config.vocab_size, hidden}, 0.0f, 1.0f);
  for (int64_t layer = 0; layer < config.num_layers; ++layer) AddLayer(absl::StrCat("model.layers.", layer, "."));
  Add("model.norm.weight", {hidden}, 1.0f, 0.1f);
  if (!config.tied_embeddings) Add("lm_head.weight", {config.vocab_size, hidden}, 0.0f, 1.0f);
}

void RandomCheckpoint::AddLayer(const std::string& prefix) {
  const int64_t hidden = config_.hidden_size;
  const auto add_linear = [&](const std::string& name, int64_t rows, int64_t columns, bool bias) {
    const float deviation = 1.5f / std::sqrt(static_cast<float>(columns));  // keeps the scale of what flows through
    Add(absl::StrCat(prefix, name, ".weight"), {rows, columns}, 0.0f, deviation);
    if (bias) Add(absl::StrCat(prefix, name, ".bias"), {rows}, 0.0f, 0.3f);
  };
  Add(prefix + "input_layernorm.weight", {hidden}, 1.0f, 0.1f);
  Add(prefix + "post_attention_layernorm.weight", {hidden}, 1.0f, 0.1f);
  add_linear("self_attn.q_proj", config_.num_q_heads * config_.head_dim, hidden, config_.qkv_bias);
  add_linear("self_attn.k_proj", config_.num_kv_heads * config_.head_dim, hidden, config_.qkv_bias);
  add_linear("self_attn.v_proj", config_.num_kv_heads * config_.head_dim, hidden, config_.qkv_bias);
  add_linear("self_attn.o_proj", hidden, config_.num_q_heads * config_.head_dim, config_.output_bias);
  if (config_.qk_norm) {
    Add(prefix + "self_attn.q_norm.weight", {config_.head_dim}, 1.0f, 0.1f);
    Add(prefix + "self_attn.k_norm.weight", {config_.head_dim}, 1.0f, 0.1f);
  }
  add_linear("mlp.gate_proj", config_.intermediate_size, hidden, config_.mlp_bias);
  add_linear("mlp.up_proj", config_.intermediate_size, hidden, config_.mlp_bias);
  add_linear("mlp.down_proj", hidden, config_.intermediate_size, config_.mlp_bias);
}

void RandomCheckpoint::Add(const std::string& name, std::vector<int64_t> shape, float mean, float deviation) {
  int64_t count = 1;
  for (const int64_t extent : shape) count *= extent;
  Tensor& tensor = tensors_[name];
  tensor.shape = std::move(shape);
  std::normal_distribution<float> normal(mean, deviation);
  for (int64_t i = 0; i < count; ++i) tensor.values.push_back(normal(random_));
}

absl::StatusOr<TensorView> RandomCheckpoint::Find(const std::string& name, absl::Span<const int64_t> shape) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) return absl::NotFoundError(absl::StrCat("no tensor ", name));
  const Tensor& tensor = found->second;
  if (absl::MakeConstSpan(tensor.shape) != shape) return absl::InvalidArgumentError(absl::StrCat("shape of ", name));
  TensorView view;
  view.name = name;
  view.type = TensorType::kF32;
  view.shape = tensor.shape;
  view.bytes = {reinterpret_cast<const uint8_t*>(tensor.values.data()), tensor.values.size() * sizeof(float)};
  return view;
}

}  // namespace slmmesh
