#include "worker/checkpoint/gguf_config.h"

#include <cmath>
#include <functional>

#include "worker/checkpoint/testing/random_model.h"
#include "worker/checkpoint/testing/status_matchers.h"

namespace slmmesh {
namespace {

// The config of a tiny model's file, after `add` put more into it.
absl::StatusOr<ModelConfig> ConfigWith(const ModelConfig& model, const std::function<void(GgufBuilder&)>& add) {
  GgufBuilder builder;
  AddShape(model, builder);
  add(builder);
  AddRandomTensors(model, TensorType::kF32, 1, builder);
  const std::string file = builder.Build();
  const absl::StatusOr<GgufFile> parsed =
      ParseGguf("f.gguf", {reinterpret_cast<const uint8_t*>(file.data()), file.size()});
  if (!parsed.ok()) return parsed.status();
  return ReadGgufConfig(parsed->metadata, parsed->tensors);
}

absl::StatusOr<ModelConfig> LlamaWith(const std::function<void(GgufBuilder&)>& add) {
  return ConfigWith(TinyConfig(Architecture::kLlama), add);
}

TEST(GgufConfig, ReadsEveryFamily) {
  for (const Architecture architecture : {Architecture::kLlama, Architecture::kQwen2, Architecture::kQwen3}) {
    SCOPED_TRACE(ArchitectureName(architecture));
    ModelConfig model = TinyConfig(architecture);
    model.tied_embeddings = true;
    const absl::StatusOr<ModelConfig> config = ConfigWith(model, [](GgufBuilder&) {});
    ASSERT_OK(config);
    EXPECT_EQ(config->architecture, architecture);
    EXPECT_EQ(config->hidden_size, 64);
    EXPECT_EQ(config->num_layers, 2);
    EXPECT_EQ(config->num_q_heads, 4);
    EXPECT_EQ(config->num_kv_heads, 2);
    EXPECT_EQ(config->head_dim, 16);
    EXPECT_EQ(config->rotary_dim, 16);
    EXPECT_EQ(config->intermediate_size, 96);
    EXPECT_EQ(config->vocab_size, 40);
    EXPECT_EQ(config->max_positions, 128);
    EXPECT_EQ(config->rms_norm_epsilon, static_cast<double>(1e-5f));
    EXPECT_EQ(config->rope.theta, 10000.0);
    EXPECT_TRUE(config->tied_embeddings) << "no output.weight";
    EXPECT_EQ(config->qkv_bias, architecture == Architecture::kQwen2);
    EXPECT_EQ(config->qk_norm, architecture == Architecture::kQwen3);
    EXPECT_THAT(config->sliding_window, testing::ElementsAre(0, 0));
  }
}

TEST(GgufConfig, BiasesAndOutputAreSeenInTheTensors) {
  ModelConfig model = TinyConfig(Architecture::kLlama);
  model.qkv_bias = model.output_bias = model.mlp_bias = true;
  const absl::StatusOr<ModelConfig> config = ConfigWith(model, [](GgufBuilder&) {});
  ASSERT_OK(config);
  EXPECT_TRUE(config->qkv_bias && config->output_bias && config->mlp_bias);
  EXPECT_FALSE(config->tied_embeddings);
}

TEST(GgufConfig, RopeScaling) {
  const absl::StatusOr<ModelConfig> linear = LlamaWith([](GgufBuilder& builder) {
    builder.AddString("llama.rope.scaling.type", "linear").AddFloat("llama.rope.scaling.factor", 4.0f);
  });
  ASSERT_OK(linear);
  EXPECT_EQ(linear->rope.type, RopeType::kLinear);
  EXPECT_EQ(linear->rope.factor, 4.0);
  EXPECT_EQ(LlamaWith([](GgufBuilder& builder) { builder.AddFloat("llama.rope.scale_linear", 2.0f); })->rope.factor,
            2.0);
  EXPECT_EQ(LlamaWith([](GgufBuilder& builder) { builder.AddString("llama.rope.scaling.type", "none"); })->rope.type,
            RopeType::kDefault);

  const absl::StatusOr<ModelConfig> yarn = LlamaWith([](GgufBuilder& builder) {
    builder.AddString("llama.rope.scaling.type", "yarn")
        .AddFloat("llama.rope.scaling.factor", 4.0f)
        .AddFloat("llama.rope.scaling.attn_factor", 2.0f)
        .AddInteger("llama.rope.scaling.original_context_length", 32);
  });
  ASSERT_OK(yarn);
  EXPECT_EQ(yarn->rope.type, RopeType::kYarn);
  EXPECT_EQ(yarn->rope.original_max_positions, 32);
  EXPECT_DOUBLE_EQ(yarn->rope.attention_factor, 2 * (0.1 * std::log(4.0) + 1));
  EXPECT_REFUSED(LlamaWith([](GgufBuilder& builder) { builder.AddString("llama.rope.scaling.type", "longrope"); }),
                 "rope.scaling.type", "longrope");
}

TEST(GgufConfig, RopeFactorsAreHonoured) {
  const std::vector<float> factors = {1, 1, 1, 2, 4, 8, 8, 8};
  const absl::StatusOr<ModelConfig> config =
      LlamaWith([&](GgufBuilder& builder) { builder.AddTensor("rope_freqs.weight", TensorType::kF32, {8}, factors); });
  ASSERT_OK(config);
  EXPECT_EQ(config->rope.type, RopeType::kDefault);
  EXPECT_EQ(config->rope.frequency_factors, factors);

  EXPECT_REFUSED(LlamaWith([&](GgufBuilder& builder) {
                   builder.AddTensor("rope_freqs.weight", TensorType::kF32, {4}, {1, 1, 1, 1});
                 }),
                 "rope_freqs.weight", "expected 8 factors");
  EXPECT_REFUSED(LlamaWith([&](GgufBuilder& builder) {
                   builder.AddTensor("rope_freqs.weight", TensorType::kF32, {8}, {1, 1, 1, 0, 4, 8, 8, 8});
                 }),
                 "rope_freqs.weight", "positive");
  EXPECT_REFUSED(LlamaWith([&](GgufBuilder& builder) {
                   builder.AddFloat("llama.rope.scaling.factor", 4.0f)
                       .AddTensor("rope_freqs.weight", TensorType::kF32, {8}, factors);
                 }),
                 "rope_freqs.weight", "rope.scaling");
}

TEST(GgufConfig, RefusesByName) {
  EXPECT_REFUSED(LlamaWith([](GgufBuilder& builder) { builder.AddInteger("llama.expert_count", 8); }),
                 "llama.expert_count", "8");
  EXPECT_REFUSED(LlamaWith([](GgufBuilder& builder) { builder.AddInteger("llama.attention.sliding_window", 64); }),
                 "llama.attention.sliding_window");
  EXPECT_REFUSED(LlamaWith([](GgufBuilder& builder) { builder.AddInteger("llama.rope.dimension_count", 8); }),
                 "llama.rope.dimension_count", "16, the head dimension");
  EXPECT_REFUSED(LlamaWith([](GgufBuilder& builder) { builder.AddInteger("split.count", 3); }), "split.count");
  ASSERT_OK(LlamaWith([](GgufBuilder& builder) { builder.AddInteger("llama.expert_count", 0); }));

  const std::string file = GgufBuilder().AddString("general.architecture", "gemma3").Build();
  const absl::StatusOr<GgufFile> parsed =
      ParseGguf("f.gguf", {reinterpret_cast<const uint8_t*>(file.data()), file.size()});
  EXPECT_REFUSED(ReadGgufConfig(parsed->metadata, parsed->tensors), "general.architecture", "gemma3",
                 "llama, qwen2, qwen3");
}

TEST(GgufConfig, RefusesHeadsThatDoNotDivide) {
  ModelConfig model = TinyConfig(Architecture::kLlama);
  model.num_kv_heads = 3;
  EXPECT_REFUSED(ConfigWith(model, [](GgufBuilder&) {}), "f.gguf", "multiple");
}

TEST(HuggingFaceName, KnowsTheFamiliesTensorsOnly) {
  EXPECT_EQ(HuggingFaceName("blk.12.attn_output.bias"), "model.layers.12.self_attn.o_proj.bias");
  EXPECT_EQ(HuggingFaceName("output.weight"), "lm_head.weight");
  EXPECT_EQ(HuggingFaceName("blk.0.ffn_gate_exps.weight"), std::nullopt);
  EXPECT_EQ(HuggingFaceName("blk.0.attn_q.scale"), std::nullopt);
  EXPECT_EQ(HuggingFaceName("attn_q.weight"), std::nullopt);
}

}  // namespace
}  // namespace slmmesh
