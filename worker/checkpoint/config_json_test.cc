#include "worker/checkpoint/config_json.h"

#include <functional>

#include "worker/checkpoint/testing/status_matchers.h"

namespace slmmesh {
namespace {

using testing::Each;
using testing::ElementsAre;

Json LlamaJson() {
  return Json::parse(R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64,
      "intermediate_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4, "vocab_size": 100,
      "max_position_embeddings": 2048})");
}

Json FamilyJson(const char* class_name, const char* model_type) {
  Json json = LlamaJson();
  json["architectures"] = {class_name};
  json["model_type"] = model_type;
  json["num_key_value_heads"] = 2;
  return json;
}

absl::StatusOr<ModelConfig> Parse(const Json& json) { return ParseConfigJson("config.json", json.dump()); }

TEST(ConfigJson, LlamaTakesTransformersDefaults) {
  const absl::StatusOr<ModelConfig> config = Parse(LlamaJson());
  ASSERT_OK(config);
  EXPECT_EQ(config->architecture, Architecture::kLlama);
  EXPECT_EQ(config->hidden_size, 64);
  EXPECT_EQ(config->intermediate_size, 96);
  EXPECT_EQ(config->num_layers, 4);
  EXPECT_EQ(config->num_q_heads, 4);
  EXPECT_EQ(config->num_kv_heads, 4);
  EXPECT_EQ(config->head_dim, 16);
  EXPECT_EQ(config->rotary_dim, 16);
  EXPECT_EQ(config->vocab_size, 100);
  EXPECT_EQ(config->max_positions, 2048);
  EXPECT_EQ(config->rms_norm_epsilon, 1e-6);
  EXPECT_FALSE(config->tied_embeddings || config->qkv_bias || config->output_bias || config->mlp_bias ||
               config->qk_norm);
  EXPECT_THAT(config->sliding_window, ElementsAre(0, 0, 0, 0));
  EXPECT_EQ(config->rope.type, RopeType::kDefault);
  EXPECT_EQ(config->rope.theta, 10000.0);
}

TEST(ConfigJson, NullMeansAbsent) {
  Json json = LlamaJson();
  for (const char* name : {"head_dim", "num_key_value_heads", "rope_scaling", "rope_parameters", "sliding_window",
                           "attention_bias", "quantization_config", "rms_norm_eps"}) {
    json[name] = nullptr;
  }
  const absl::StatusOr<ModelConfig> config = Parse(json);
  ASSERT_OK(config);
  EXPECT_EQ(config->head_dim, 16);
  EXPECT_EQ(config->num_kv_heads, 4);
}

TEST(ConfigJson, LlamaBiases) {
  Json json = LlamaJson();
  json["attention_bias"] = true;
  json["mlp_bias"] = true;
  const absl::StatusOr<ModelConfig> config = Parse(json);
  ASSERT_OK(config);
  EXPECT_TRUE(config->qkv_bias && config->output_bias && config->mlp_bias);
}

TEST(ConfigJson, FamiliesDiffer) {
  const absl::StatusOr<ModelConfig> qwen2 = Parse(FamilyJson("Qwen2ForCausalLM", "qwen2"));
  ASSERT_OK(qwen2);
  EXPECT_TRUE(qwen2->qkv_bias);
  EXPECT_FALSE(qwen2->output_bias || qwen2->qk_norm);

  const absl::StatusOr<ModelConfig> qwen3 = Parse(FamilyJson("Qwen3ForCausalLM", "qwen3"));
  ASSERT_OK(qwen3);
  EXPECT_TRUE(qwen3->qk_norm);
  EXPECT_FALSE(qwen3->qkv_bias);
  EXPECT_EQ(qwen3->head_dim, 128) << "not hidden_size over heads";

  Json mistral_json = FamilyJson("MistralForCausalLM", "mistral");
  mistral_json["attention_bias"] = true;
  EXPECT_REFUSED(Parse(mistral_json), "attention_bias");
  mistral_json.erase("attention_bias");
  mistral_json.erase("num_key_value_heads");
  EXPECT_REFUSED(Parse(mistral_json), "num_key_value_heads", "missing");
}

TEST(ConfigJson, ModelTypeAloneNamesTheFamily) {
  Json json = FamilyJson("Qwen3ForCausalLM", "qwen3");
  json.erase("architectures");
  const absl::StatusOr<ModelConfig> config = Parse(json);
  ASSERT_OK(config);
  EXPECT_EQ(config->architecture, Architecture::kQwen3);
}

TEST(ConfigJson, RefusesUnknownArchitecturesWithTheKnownOnes) {
  EXPECT_REFUSED(Parse(FamilyJson("MixtralForCausalLM", "mixtral")), "architectures", "MixtralForCausalLM",
                 "LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM");
  EXPECT_REFUSED(Parse(FamilyJson("LlamaForCausalLM", "mistral")), "model_type", "mistral", "llama");
  Json json = LlamaJson();
  json["architectures"] = Json::array();
  EXPECT_REFUSED(Parse(json), "architectures");
  json.erase("architectures");
  json.erase("model_type");
  EXPECT_REFUSED(Parse(json), "architectures", "missing");
}

TEST(ConfigJson, MistralSlidesInEveryLayer) {
  Json json = FamilyJson("MistralForCausalLM", "mistral");
  EXPECT_THAT(Parse(json)->sliding_window, Each(4096)) << "transformers' default when absent";
  json["sliding_window"] = nullptr;
  EXPECT_THAT(Parse(json)->sliding_window, Each(0));
  json["sliding_window"] = 16;
  EXPECT_THAT(Parse(json)->sliding_window, Each(16));
  json["layer_types"] = {"full_attention", "full_attention", "sliding_attention", "sliding_attention"};
  EXPECT_REFUSED(Parse(json), "layer_types");
}

TEST(ConfigJson, QwenSlidesByLayer) {
  Json json = FamilyJson("Qwen2ForCausalLM", "qwen2");
  json["sliding_window"] = 32;
  json["max_window_layers"] = 3;
  EXPECT_THAT(Parse(json)->sliding_window, Each(0)) << "use_sliding_window is false by default";
  json["use_sliding_window"] = true;
  EXPECT_THAT(Parse(json)->sliding_window, ElementsAre(0, 0, 0, 32));
  json["layer_types"] = {"sliding_attention", "full_attention", "sliding_attention", "full_attention"};
  EXPECT_THAT(Parse(json)->sliding_window, ElementsAre(32, 0, 32, 0));
  json["use_sliding_window"] = false;
  EXPECT_REFUSED(Parse(json), "layer_types", "without a sliding window");
  json["layer_types"] = {"full_attention"};
  EXPECT_REFUSED(Parse(json), "layer_types", "a list of 4");
}

TEST(ConfigJson, RefusesWhatWouldChangeTheNumbers) {
  const std::pair<const char*, Json> kFields[] = {
      {"num_local_experts", 8},       {"final_logit_softcapping", 30.0}, {"attn_logit_softcapping", 50.0},
      {"partial_rotary_factor", 0.5}, {"logits_scaling", 8.0},           {"use_qk_norm", true},
      {"hidden_act", "gelu"}};
  for (const auto& [name, value] : kFields) {
    Json json = LlamaJson();
    json[name] = value;
    EXPECT_REFUSED(Parse(json), "config.json", name);
  }
}

TEST(ConfigJson, BoundsEveryField) {
  const std::pair<const char*, Json> kFields[] = {{"hidden_size", 0},
                                                  {"hidden_size", 1 << 30},
                                                  {"hidden_size", "64"},
                                                  {"hidden_size", 64.5},
                                                  {"intermediate_size", -1},
                                                  {"num_hidden_layers", 100000},
                                                  {"num_attention_heads", 0},
                                                  {"num_attention_heads", 5},
                                                  {"num_key_value_heads", 8},
                                                  {"vocab_size", int64_t{1} << 40},
                                                  {"max_position_embeddings", 0},
                                                  {"head_dim", 512},
                                                  {"head_dim", 1},
                                                  {"rms_norm_eps", -1e-5},
                                                  {"tie_word_embeddings", 1},
                                                  {"rope_theta", 0.0},
                                                  {"rope_scaling", "linear"}};
  for (const auto& [name, value] : kFields) {
    Json json = LlamaJson();
    json[name] = value;
    SCOPED_TRACE(json.dump());
    EXPECT_REFUSED(Parse(json), "config.json");
  }
  Json json = LlamaJson();
  json["num_key_value_heads"] = 3;
  EXPECT_REFUSED(Parse(json), "(4)", "multiple", "(3)");
  json = LlamaJson();
  json["head_dim"] = 15;
  EXPECT_REFUSED(Parse(json), "15", "odd");
}

}  // namespace
}  // namespace slmmesh
