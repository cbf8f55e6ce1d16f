// Damaged safetensors files and shard indexes: refused or read, never a crash, an overrun or a large allocation.
#include <gtest/gtest.h>

#include <iostream>

#include "common/temporary_folder.h"
#include "tests/fuzz/allocation_meter.h"
#include "tests/fuzz/mutator.h"
#include "worker/checkpoint/safetensors.h"
#include "worker/checkpoint/testing/random_model.h"

namespace slmmesh {
namespace {

constexpr uint64_t kSeed = 20240601;

ModelConfig SeedConfig() {
  ModelConfig config = TinyConfig(Architecture::kQwen3);
  config.num_layers = 1;
  config.sliding_window = {0};
  config.hidden_size = 8;
  config.intermediate_size = 8;
  config.head_dim = 2;
  config.rotary_dim = 2;
  config.vocab_size = 8;
  return config;
}

void ReadAll(const TensorView& tensor) {
  std::vector<float> row(static_cast<size_t>(tensor.columns()));
  for (int64_t r = 0; r < tensor.rows(); ++r) ReadTensor(tensor, r, r + 1, 0, tensor.columns(), row.data());
}

// Damage to the header alone half of the time: most bytes are weights, where nothing can go wrong.
std::string Damage(Mutator& mutator, const std::string& file, size_t header_bytes) {
  if (mutator.Next() % 2 == 0) return mutator.Mutate(file);
  std::string header = mutator.Mutate(file.substr(8, header_bytes - 8));
  return SafetensorsBuilder::WithHeader(header, file.substr(header_bytes));
}

TEST(FuzzSafetensors, Parse) {
  std::cout << "seed " << kSeed << "\n";
  Mutator mutator(kSeed);
  SafetensorsBuilder small;
  small.Add("a", TensorType::kF32, {2, 3}, {1, 2, 3, 4, 5, 6}).Add("b", TensorType::kF16, {4}, {1, 2, 3, 4});
  const std::string files[] = {small.Build(), RandomSafetensors(SeedConfig(), TensorType::kBF16, 1)};
  int accepted = 0;
  for (int i = 0; i < 40000; ++i) {
    SCOPED_TRACE(testing::Message() << "iteration " << i);
    const std::string& file = files[i % 2];
    const size_t header_bytes = SafetensorsDataOffset({reinterpret_cast<const uint8_t*>(file.data()), file.size()});
    const std::string damaged = Damage(mutator, file, header_bytes);
    const std::vector<uint8_t> exact(damaged.begin(), damaged.end());  // no byte behind the last: overruns are seen
    const AllocationMeter meter;
    const absl::StatusOr<std::vector<TensorView>> tensors = ParseSafetensors("f", exact);
    ASSERT_LE(meter.peak_bytes(), (size_t{1} << 20) + 64 * exact.size());
    if (!tensors.ok()) {
      ASSERT_EQ(tensors.status().code(), absl::StatusCode::kInvalidArgument) << tensors.status();
      continue;
    }
    ++accepted;
    for (const TensorView& tensor : *tensors) ReadAll(tensor);
  }
  EXPECT_GT(accepted, 0) << "the damage is so heavy that nothing behind the first check is tested";
}

TEST(FuzzSafetensors, ShardIndex) {
  std::cout << "seed " << kSeed << "\n";
  Mutator mutator(kSeed);
  const std::string index = R"({"metadata": {"total_size": 12}, "weight_map": {"a.weight": "m-1.safetensors",
                               "b.weight": "m-2.safetensors", "c.weight": "m-1.safetensors"}})";
  for (int i = 0; i < 40000; ++i) {
    SCOPED_TRACE(testing::Message() << "iteration " << i);
    const std::string damaged = mutator.Mutate(index);
    const absl::StatusOr<ShardIndex> result = ParseShardIndex("i", damaged);
    if (!result.ok()) continue;
    for (const std::string& file : result->files) ASSERT_EQ(file.find('/'), std::string::npos) << damaged;
  }
}

TEST(FuzzSafetensors, OpenFolder) {
  std::cout << "seed " << kSeed << "\n";
  Mutator mutator(kSeed);
  const ModelConfig config = SeedConfig();
  const std::string file = RandomSafetensors(config, TensorType::kF32, 1);
  const size_t header_bytes = SafetensorsDataOffset({reinterpret_cast<const uint8_t*>(file.data()), file.size()});
  const TemporaryFolder folder;
  folder.Write("config.json", ConfigJson(config));
  for (int i = 0; i < 200; ++i) {
    SCOPED_TRACE(testing::Message() << "iteration " << i);
    folder.Write("model.safetensors", Damage(mutator, file, header_bytes));
    const auto checkpoint = Checkpoint::Open(folder.path());
    if (!checkpoint.ok()) continue;
    for (const auto& [name, shape] : ExpectedTensors(config)) {
      const absl::StatusOr<TensorView> tensor = (*checkpoint)->Find(name, shape);
      ASSERT_TRUE(tensor.ok()) << tensor.status();
      ReadAll(*tensor);
    }
  }
}

}  // namespace
}  // namespace slmmesh
