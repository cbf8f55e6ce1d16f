// Damaged config.json and text files of a Hugging Face folder: refused or read, and what is read is within bounds.
#include <gtest/gtest.h>

#include <iostream>

#include "common/temporary_folder.h"
#include "tests/fuzz/allocation_meter.h"
#include "tests/fuzz/mutator.h"
#include "worker/checkpoint/config_json.h"
#include "worker/checkpoint/hugging_face_text.h"

namespace slmmesh {
namespace {

constexpr uint64_t kSeed = 20240603;

constexpr const char* kConfigs[] = {
    R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "intermediate_size": 96,
        "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 100, "head_dim": 16,
        "max_position_embeddings": 2048, "rope_parameters": {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0,
        "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 256}})",
    R"({"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": 64, "intermediate_size": 96,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 100,
        "max_position_embeddings": 2048, "use_sliding_window": true, "sliding_window": 16, "max_window_layers": 1,
        "layer_types": ["full_attention", "sliding_attention"], "rope_theta": 10000.0, "rms_norm_eps": 1e-06,
        "rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 512, "beta_fast": 32}})",
};

void ExpectBounds(const ModelConfig& config) {
  ASSERT_TRUE(CheckModelConfig(config).ok());
  for (const int64_t size : {config.hidden_size, config.intermediate_size, config.num_layers, config.num_q_heads,
                             config.num_kv_heads, config.head_dim, config.vocab_size, config.max_positions}) {
    ASSERT_GE(size, 1);
    ASSERT_LE(size, kMaxPositions);
  }
  ASSERT_EQ(config.rotary_dim, config.head_dim);
  ASSERT_EQ(config.sliding_window.size(), static_cast<size_t>(config.num_layers));
  ASSERT_TRUE(config.rope.theta > 1 && config.rope.factor >= 1);
}

TEST(FuzzConfig, ConfigJson) {
  std::cout << "seed " << kSeed << "\n";
  Mutator mutator(kSeed);
  int accepted = 0;
  for (int i = 0; i < 60000; ++i) {
    SCOPED_TRACE(testing::Message() << "iteration " << i);
    const std::string damaged = mutator.Mutate(kConfigs[i % 2]);
    const AllocationMeter meter;
    const absl::StatusOr<ModelConfig> config = ParseConfigJson("config.json", damaged);
    ASSERT_LE(meter.peak_bytes(), (size_t{1} << 20) + 64 * damaged.size());
    if (!config.ok()) {
      ASSERT_EQ(config.status().code(), absl::StatusCode::kInvalidArgument) << config.status();
      continue;
    }
    ++accepted;
    ASSERT_NO_FATAL_FAILURE(ExpectBounds(*config));
  }
  EXPECT_GT(accepted, 0);
}

// Depth and repetition, which byte damage does not reach.
TEST(FuzzConfig, DeepAndWideJson) {
  for (const char* opening : {"[", "{\"a\":", "[[{\"a\":["}) {
    std::string text;
    for (int i = 0; i < 200000; ++i) text += opening;
    const AllocationMeter meter;
    EXPECT_FALSE(ParseConfigJson("config.json", text).ok());
    EXPECT_LE(meter.peak_bytes(), size_t{1} << 20) << "stopped at the depth limit";
  }
  std::string wide = "[0";
  for (int i = 0; i < (1 << 21); ++i) wide += ",0";
  wide += "]";
  const AllocationMeter meter;
  EXPECT_FALSE(ParseConfigJson("config.json", wide).ok());
  EXPECT_LE(meter.peak_bytes(), size_t{1} << 20) << "stopped before a tree was built";
}

TEST(FuzzConfig, TextFiles) {
  std::cout << "seed " << kSeed << "\n";
  Mutator mutator(kSeed);
  const std::pair<const char*, const char*> kFiles[] = {
      {"tokenizer_config.json", R"({"bos_token": {"content": "<s>"}, "eos_token": "</s>", "chat_template":
                                    [{"name": "default", "template": "{{ x }}"}]})"},
      {"generation_config.json", R"({"eos_token_id": [2, 3], "temperature": 0.6, "top_p": 0.9, "top_k": 20})"},
  };
  const Json config = Json::object();
  const TemporaryFolder folder;
  int accepted = 0;
  for (int i = 0; i < 200; ++i) {
    SCOPED_TRACE(testing::Message() << "iteration " << i);
    for (const auto& [name, content] : kFiles) folder.Write(name, mutator.Mutate(content));
    const auto text = ReadHuggingFaceText(folder.path(), *JsonFields::Create("config.json", config), 100);
    if (!text.ok()) continue;
    ++accepted;
    for (const uint32_t id : text->text.eos_token_ids) ASSERT_LT(id, 100u);
  }
  EXPECT_GT(accepted, 0);
}

}  // namespace
}  // namespace slmmesh
