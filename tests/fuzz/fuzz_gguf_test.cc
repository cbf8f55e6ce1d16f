// Damaged GGUF files: refused or read, never a crash, an overrun or a large allocation.
#include <gtest/gtest.h>

#include <iostream>

#include "common/temporary_folder.h"
#include "tests/fuzz/allocation_meter.h"
#include "tests/fuzz/mutator.h"
#include "worker/checkpoint/gguf_config.h"
#include "worker/checkpoint/gguf_file.h"
#include "worker/checkpoint/gguf_tokenizer.h"
#include "worker/checkpoint/testing/random_model.h"

namespace slmmesh {
namespace {

constexpr uint64_t kSeed = 20240602;

std::string SentencePieceGguf() {
  GgufBuilder builder;
  builder.AddString("general.architecture", "llama")
      .AddString("tokenizer.ggml.model", "llama")
      .AddStrings("tokenizer.ggml.tokens", {"<unk>", "<s>", "</s>", "<0x0A>", "a", "b", "ab", "\u2581", "\u2581a"})
      .AddFloats("tokenizer.ggml.scores", {0, 0, 0, 0, -1, -2, -3, -4, -5})
      .AddIntegers("tokenizer.ggml.token_type", {2, 3, 3, 6, 1, 1, 1, 1, 1})
      .AddInteger("tokenizer.ggml.bos_token_id", 1)
      .AddBool("tokenizer.ggml.add_space_prefix", true)
      .AddTensor("token_embd.weight", TensorType::kQ4_0, {2, 32}, std::vector<float>(64, 1.0f));
  return builder.Build();
}

ModelConfig SeedConfig(Architecture architecture) {
  ModelConfig config = TinyConfig(architecture);
  config.num_layers = 1;
  config.sliding_window = {0};
  config.hidden_size = 32;
  config.intermediate_size = 32;
  config.vocab_size = 12;
  return config;
}

void ReadAll(const TensorView& tensor) {
  std::vector<float> row(static_cast<size_t>(tensor.columns()));
  for (int64_t r = 0; r < tensor.rows(); ++r) ReadTensor(tensor, r, r + 1, 0, tensor.columns(), row.data());
}

// Everything before the weights: most bytes are weights, where nothing can go wrong.
size_t HeaderBytes(const std::string& file) {
  const absl::StatusOr<GgufFile> parsed = ParseGguf("f", {reinterpret_cast<const uint8_t*>(file.data()), file.size()});
  return parsed.ok() ? parsed->data_offset : 0;
}

std::string Damage(Mutator& mutator, const std::string& file, size_t header_bytes) {
  if (mutator.Next() % 4 == 0) return mutator.Mutate(file);
  // Of the same length, so that the weights stay where they are.
  std::string header = mutator.Mutate(file.substr(0, header_bytes));
  header.resize(header_bytes);
  return header + file.substr(header_bytes);
}

TEST(FuzzGguf, Parse) {
  std::cout << "seed " << kSeed << "\n";
  Mutator mutator(kSeed);
  const std::string files[] = {SentencePieceGguf(), RandomGguf(SeedConfig(Architecture::kLlama), TensorType::kQ4_1, 1),
                               RandomGguf(SeedConfig(Architecture::kQwen2), TensorType::kQ8_0, 1)};
  const size_t header_bytes[] = {HeaderBytes(files[0]), HeaderBytes(files[1]), HeaderBytes(files[2])};
  int parsed = 0;
  int with_config = 0;
  int with_text = 0;
  for (int i = 0; i < 45000; ++i) {
    SCOPED_TRACE(testing::Message() << "iteration " << i);
    const std::string damaged = Damage(mutator, files[i % 3], header_bytes[i % 3]);
    const std::vector<uint8_t> exact(damaged.begin(), damaged.end());  // no byte behind the last: overruns are seen
    const AllocationMeter meter;
    const absl::StatusOr<GgufFile> file = ParseGguf("f", exact);
    ASSERT_LE(meter.peak_bytes(), (size_t{1} << 20) + 64 * exact.size());
    if (!file.ok()) {
      ASSERT_EQ(file.status().code(), absl::StatusCode::kInvalidArgument) << file.status();
      continue;
    }
    ++parsed;
    for (const TensorView& tensor : file->tensors) ReadAll(tensor);
    const absl::StatusOr<ModelConfig> config = ReadGgufConfig(file->metadata, file->tensors);
    const absl::StatusOr<TextAssets> text = ReadGgufText(file->metadata, 40);
    ASSERT_LE(meter.peak_bytes(), (size_t{4} << 20) + 256 * exact.size());
    with_config += config.ok();
    with_text += text.ok();
    if (config.ok()) {
      ASSERT_TRUE(CheckModelConfig(*config).ok());
    }
  }
  EXPECT_GT(parsed, 0);
  EXPECT_GT(with_config, 0);
  EXPECT_GT(with_text, 0);
}

TEST(FuzzGguf, OpenFile) {
  std::cout << "seed " << kSeed << "\n";
  Mutator mutator(kSeed);
  const ModelConfig config = SeedConfig(Architecture::kLlama);
  const std::string file = RandomGguf(config, TensorType::kQ4_0, 1);
  const size_t header_bytes = HeaderBytes(file);
  const TemporaryFolder folder;
  int accepted = 0;
  for (int i = 0; i < 200; ++i) {
    SCOPED_TRACE(testing::Message() << "iteration " << i);
    const auto checkpoint = Checkpoint::Open(folder.Write("m.gguf", Damage(mutator, file, header_bytes)));
    if (!checkpoint.ok()) continue;
    ++accepted;
    for (const auto& [name, shape] : ExpectedTensors((*checkpoint)->config())) {
      const absl::StatusOr<TensorView> tensor = (*checkpoint)->Find(name, shape);
      ASSERT_TRUE(tensor.ok()) << tensor.status();
      ReadAll(*tensor);
    }
  }
  EXPECT_GT(accepted, 0);
}

}  // namespace
}  // namespace slmmesh
