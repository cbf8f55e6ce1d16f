// Random models in memory, for tests: any shape that the decoder accepts, every option, odd sizes preferred.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "worker/checkpoint/checkpoint.h"

namespace slmmesh {

// A small random shape of any family and rope type.
ModelConfig RandomModelConfig(std::mt19937_64& random);
// Always the same: 32 wide, four heads over two, 200 tokens, 128 positions.
ModelConfig SmallModelConfig(int64_t num_layers);

// fp32 tensors for every name that `config` calls for. Not thread-safe while tensors are changed.
class RandomCheckpoint : public Checkpoint {
 public:
  RandomCheckpoint(const ModelConfig& config, uint64_t seed);

  const ModelConfig& config() const override { return config_; }
  const TextAssets& text() const override { return text_; }
  const GenerationConfig& generation() const override { return generation_; }
  absl::StatusOr<TensorView> Find(const std::string& name, absl::Span<const int64_t> shape) const override;
  bool Has(absl::string_view name) const override { return tensors_.count(std::string(name)) > 0; }
  const std::string& digest() const override { return digest_; }

  // The values of a tensor, to be spoilt by a test.
  std::vector<float>& values(const std::string& name) { return tensors_.at(name).values; }
  void Remove(const std::string& name) { tensors_.erase(name); }

 private:
  struct Tensor {
    std::vector<int64_t> shape;
    std::vector<float> values;
  };
  void Add(const std::string& name, std::vector<int64_t> shape, float mean, float deviation);
  void AddLayer(const std::string& prefix);

  ModelConfig config_;
  TextAssets text_;
  GenerationConfig generation_ = {};
  std::string digest_;
  std::mt19937_64 random_;
  std::map<std::string, Tensor> tensors_;
};

}  // namespace slmmesh
