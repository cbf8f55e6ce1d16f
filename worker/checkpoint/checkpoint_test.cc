#include "worker/checkpoint/checkpoint.h"

#include <filesystem>

#include "common/files.h"
#include "common/temporary_folder.h"
#include "worker/checkpoint/testing/random_model.h"
#include "worker/checkpoint/testing/status_matchers.h"

namespace slmmesh {
namespace {

constexpr Architecture kFamilies[] = {Architecture::kLlama, Architecture::kMistral, Architecture::kQwen2,
                                      Architecture::kQwen3};

std::vector<float> ReadAll(const Checkpoint& checkpoint, const std::string& name, const std::vector<int64_t>& shape) {
  const absl::StatusOr<TensorView> tensor = checkpoint.Find(name, shape);
  EXPECT_TRUE(tensor.ok()) << tensor.status();
  if (!tensor.ok()) return {};
  std::vector<float> values(static_cast<size_t>(tensor->rows() * tensor->columns()));
  ReadTensor(*tensor, 0, tensor->rows(), 0, tensor->columns(), values.data());
  return values;
}

void ExpectTensors(const Checkpoint& checkpoint, const ModelConfig& config, uint64_t seed) {
  const std::map<std::string, std::vector<float>> tensors = RandomTensors(config, seed);
  for (const auto& [name, shape] : ExpectedTensors(config)) {
    EXPECT_EQ(ReadAll(checkpoint, name, shape), tensors.at(name)) << name;
  }
}

TEST(Checkpoint, OpensFoldersOfEveryFamily) {
  for (const Architecture family : kFamilies) {
    SCOPED_TRACE(ArchitectureName(family));
    const ModelConfig config = TinyConfig(family);
    const TemporaryFolder folder;
    folder.Write("config.json", ConfigJson(config));
    folder.Write("model.safetensors", RandomSafetensors(config, TensorType::kF32, 1));
    const auto checkpoint = Checkpoint::Open(folder.path());
    ASSERT_OK(checkpoint);
    EXPECT_EQ((*checkpoint)->config().architecture, family);
    EXPECT_THAT((*checkpoint)->text().eos_token_ids, testing::ElementsAre(2u));
    ExpectTensors(**checkpoint, config, 1);
  }
}

// Llama's interleaved rows come out in Hugging Face's order.
TEST(Checkpoint, OpensGgufFilesOfEveryFamily) {
  for (const Architecture family : {Architecture::kLlama, Architecture::kQwen2, Architecture::kQwen3}) {
    SCOPED_TRACE(ArchitectureName(family));
    ModelConfig config = TinyConfig(family);
    config.qkv_bias = family != Architecture::kQwen3;  // Llama's biases are interleaved, too
    const TemporaryFolder folder;
    const std::string path = folder.Write("m.gguf", RandomGguf(config, TensorType::kF32, 1));
    const auto checkpoint = Checkpoint::Open(path);
    ASSERT_OK(checkpoint);
    EXPECT_EQ((*checkpoint)->config().qkv_bias, config.qkv_bias);
    EXPECT_EQ((*checkpoint)->text().eos_token, "<|im_end|>");
    ExpectTensors(**checkpoint, config, 1);
  }
}

TEST(Checkpoint, FindNamesWhatIsWrong) {
  const ModelConfig config = TinyConfig(Architecture::kLlama);
  const TemporaryFolder folder;
  folder.Write("config.json", ConfigJson(config));
  folder.Write("model.safetensors", RandomSafetensors(config, TensorType::kBF16, 1));
  const auto checkpoint = Checkpoint::Open(folder.path());
  ASSERT_OK(checkpoint);
  EXPECT_TRUE((*checkpoint)->Has("model.norm.weight"));
  EXPECT_FALSE((*checkpoint)->Has("model.norm.bias"));
  const absl::Status missing = (*checkpoint)->Find("model.norm.bias", {64}).status();
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.message()), testing::HasSubstr("model.norm.bias"));
  EXPECT_REFUSED((*checkpoint)->Find("model.norm.weight", {65}), "model.norm.weight", "[64]", "[65]");
}

TEST(Checkpoint, RefusesTensorsThatTheConfigDoesNotDescribe) {
  const ModelConfig config = TinyConfig(Architecture::kLlama);
  ModelConfig larger = config;
  larger.vocab_size = 41;
  ModelConfig deeper = config;
  deeper.num_layers = 3;
  ModelConfig biased = config;
  biased.qkv_bias = true;
  const TemporaryFolder folder;
  folder.Write("model.safetensors", RandomSafetensors(config, TensorType::kF32, 1));
  folder.Write("config.json", ConfigJson(larger));
  EXPECT_REFUSED(Checkpoint::Open(folder.path()), "model.embed_tokens.weight", "[40, 64]", "[41, 64]");
  folder.Write("config.json", ConfigJson(deeper));
  EXPECT_EQ(Checkpoint::Open(folder.path()).status().code(), absl::StatusCode::kNotFound);
  folder.Write("config.json", ConfigJson(config));
  folder.Write("model.safetensors", RandomSafetensors(biased, TensorType::kF32, 1));
  EXPECT_REFUSED(Checkpoint::Open(folder.path()), "self_attn.", "bias", "not part of a llama model");
}

TEST(Checkpoint, TiedEmbeddingsIgnoreAnOutputMatrix) {
  ModelConfig config = TinyConfig(Architecture::kLlama);
  const TemporaryFolder folder;
  folder.Write("model.safetensors", RandomSafetensors(config, TensorType::kF32, 1));
  config.tied_embeddings = true;
  folder.Write("config.json", ConfigJson(config));
  const auto checkpoint = Checkpoint::Open(folder.path());
  ASSERT_OK(checkpoint);
  EXPECT_TRUE((*checkpoint)->config().tied_embeddings);
}

// Writes the tensors of `config` alternately into two shards, and returns the index's weight map.
std::map<std::string, std::string> WriteShards(const TemporaryFolder& folder, const ModelConfig& config) {
  SafetensorsBuilder builders[2];
  std::map<std::string, std::string> weight_map;
  std::map<std::string, std::vector<float>> tensors = RandomTensors(config, 1);
  size_t shard = 0;
  for (const auto& [name, shape] : ExpectedTensors(config)) {
    builders[shard].Add(name, TensorType::kF32, shape, tensors.at(name));
    weight_map[name] = shard == 0 ? "m-1.safetensors" : "m-2.safetensors";
    shard = 1 - shard;
  }
  folder.Write("config.json", ConfigJson(config));
  folder.Write("m-1.safetensors", builders[0].Build());
  folder.Write("m-2.safetensors", builders[1].Build());
  return weight_map;
}

std::string IndexJson(const std::map<std::string, std::string>& weight_map) {
  std::string entries;
  for (const auto& [name, file] : weight_map) {
    absl::StrAppend(&entries, entries.empty() ? "" : ",", "\"", name, "\":\"", file, "\"");
  }
  return absl::StrCat("{\"metadata\":{},\"weight_map\":{", entries, "}}");
}

TEST(Checkpoint, OpensShards) {
  const ModelConfig config = TinyConfig(Architecture::kQwen3);
  const TemporaryFolder folder;
  folder.Write("model.safetensors.index.json", IndexJson(WriteShards(folder, config)));
  const auto checkpoint = Checkpoint::Open(folder.path());
  ASSERT_OK(checkpoint);
  ExpectTensors(**checkpoint, config, 1);
}

TEST(Checkpoint, RefusesAnIndexThatContradictsItsShards) {
  const TemporaryFolder folder;
  const std::map<std::string, std::string> weight_map = WriteShards(folder, TinyConfig(Architecture::kLlama));
  const auto open_with = [&](const std::string& name, const char* file) {
    std::map<std::string, std::string> changed = weight_map;
    if (*file == '\0') {
      changed.erase(name);
    } else {
      changed[name] = file;
    }
    folder.Write("model.safetensors.index.json", IndexJson(changed));
    return Checkpoint::Open(folder.path());
  };
  ASSERT_OK(open_with("model.norm.weight", weight_map.at("model.norm.weight").c_str()));
  const char* other = weight_map.at("model.norm.weight") == "m-1.safetensors" ? "m-2.safetensors" : "m-1.safetensors";
  EXPECT_REFUSED(open_with("model.norm.weight", other), "model.norm.weight", "as the index says");
  EXPECT_REFUSED(open_with("model.norm.weight", ""), "model.norm.weight", "no file");
  EXPECT_REFUSED(open_with("model.extra.weight", "m-1.safetensors"), "model.extra.weight", "m-1.safetensors");
  EXPECT_REFUSED(open_with("model.norm.weight", "../m.safetensors"), "same folder");
  std::filesystem::remove(folder.path() + "/m-2.safetensors");
  const absl::Status gone = open_with("model.norm.weight", weight_map.at("model.norm.weight").c_str()).status();
  EXPECT_EQ(gone.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(gone.message()), testing::HasSubstr("m-2.safetensors"));
}

TEST(Checkpoint, RefusesATruncatedFile) {
  const ModelConfig config = TinyConfig(Architecture::kLlama);
  const TemporaryFolder folder;
  folder.Write("config.json", ConfigJson(config));
  const std::string file = RandomSafetensors(config, TensorType::kF32, 1);
  folder.Write("model.safetensors", file.substr(0, file.size() - 4));
  EXPECT_REFUSED(Checkpoint::Open(folder.path()), "model.safetensors", "truncated");
  const std::string gguf = RandomGguf(config, TensorType::kF32, 1);
  EXPECT_REFUSED(Checkpoint::Open(folder.Write("m.gguf", gguf.substr(0, gguf.size() - 4))), "m.gguf", "truncated");
}

TEST(Checkpoint, NamesMissingFiles) {
  const TemporaryFolder folder;
  const absl::Status no_config = Checkpoint::Open(folder.path()).status();
  EXPECT_EQ(no_config.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(no_config.message()), testing::HasSubstr("config.json"));
  folder.Write("config.json", ConfigJson(TinyConfig(Architecture::kLlama)));
  const absl::Status no_weights = Checkpoint::Open(folder.path()).status();
  EXPECT_EQ(no_weights.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(no_weights.message()), testing::HasSubstr("neither model.safetensors nor"));
  EXPECT_EQ(Checkpoint::Open(folder.path() + "/m.gguf").status().code(), absl::StatusCode::kNotFound);
}

TEST(Checkpoint, RefusesAnUnknownGgufTensor) {
  const ModelConfig config = TinyConfig(Architecture::kLlama);
  GgufBuilder builder;
  AddShape(config, builder);
  AddTinyVocabulary(config.vocab_size, builder);
  AddRandomTensors(config, TensorType::kF32, 1, builder);
  builder.AddTensor("blk.0.attn_sinks.weight", TensorType::kF32, {4}, {1, 2, 3, 4});
  const TemporaryFolder folder;
  EXPECT_REFUSED(Checkpoint::Open(folder.Write("m.gguf", builder.Build())), "blk.0.attn_sinks.weight", "unknown");
}

TEST(Checkpoint, Sha256OfAGgufFile) {
  const TemporaryFolder folder;
  const std::string path = folder.Write("m.gguf", RandomGguf(TinyConfig(Architecture::kLlama), TensorType::kQ4_1, 1));
  ASSERT_OK(Checkpoint::Open(path, *Sha256HexOfFile(path)));
  const absl::Status wrong = Checkpoint::Open(path, std::string(64, '0')).status();
  EXPECT_EQ(wrong.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(wrong.message()), testing::HasSubstr(*Sha256HexOfFile(path)));
  EXPECT_REFUSED(Checkpoint::Open(folder.path(), std::string(64, '0')), "sha256", ".gguf");
}

TEST(Checkpoint, DigestFollowsTheContent) {
  const ModelConfig config = TinyConfig(Architecture::kLlama);
  const auto digest = [&](uint64_t seed, const std::string& template_text, const std::string& extra) {
    const TemporaryFolder folder;
    folder.Write("config.json", ConfigJson(config) + extra);
    folder.Write("chat_template.jinja", template_text);
    folder.Write("model.safetensors", RandomSafetensors(config, TensorType::kF32, seed));
    const auto checkpoint = Checkpoint::Open(folder.path());
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
    return checkpoint.ok() ? (*checkpoint)->digest() : "";
  };
  const std::string first = digest(1, "T", "");
  EXPECT_EQ(first.size(), 64u);
  EXPECT_EQ(first, digest(1, "T", "")) << "in another folder";
  EXPECT_NE(first, digest(2, "T", "")) << "other weights";
  EXPECT_NE(first, digest(1, "U", "")) << "another template";
  EXPECT_NE(first, digest(1, "T", " ")) << "another config";

  const TemporaryFolder folder;
  const auto one = Checkpoint::Open(folder.Write("1.gguf", RandomGguf(config, TensorType::kF32, 1)));
  const auto same = Checkpoint::Open(folder.Write("2.gguf", RandomGguf(config, TensorType::kF32, 1)));
  const auto other = Checkpoint::Open(folder.Write("3.gguf", RandomGguf(config, TensorType::kF32, 2)));
  EXPECT_EQ((*one)->digest(), (*same)->digest());
  EXPECT_NE((*one)->digest(), (*other)->digest());
}

// The steps of a block bound the error of what the test's own encoder stored.
TEST(Checkpoint, QuantizedGgufIsCloseToItsSource) {
  const ModelConfig config = TinyConfig(Architecture::kLlama);
  const std::string name = "model.layers.1.mlp.down_proj.weight";
  const std::vector<float> source = RandomTensors(config, 1).at(name);
  const std::pair<TensorType, float> kSteps[] = {
      {TensorType::kQ8_0, 2.0f / 254}, {TensorType::kQ4_0, 2.0f / 14}, {TensorType::kQ4_1, 2.0f / 15}};
  for (const auto& [type, step] : kSteps) {
    SCOPED_TRACE(TensorTypeName(type));
    const TemporaryFolder folder;
    const auto checkpoint = Checkpoint::Open(folder.Write("m.gguf", RandomGguf(config, type, 1)));
    ASSERT_OK(checkpoint);
    const std::vector<float> values = ReadAll(**checkpoint, name, {64, 96});
    ASSERT_EQ(values.size(), source.size());
    const float range = 1.7f / std::sqrt(96.0f);  // values lie in ±range
    for (size_t i = 0; i < values.size(); ++i) {
      // Half a step, and fp16's truncation of scale and minimum: each under 2^-10 of the range.
      ASSERT_NEAR(values[i], source[i], range * (step / 2 + 4 * 0x1p-10f)) << i;
    }
  }
}

}  // namespace
}  // namespace slmmesh
