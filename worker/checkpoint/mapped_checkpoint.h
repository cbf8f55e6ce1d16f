// What both readers produce: a Checkpoint over mapped files.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/files.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/checkpoint/tensor_table.h"

namespace slmmesh {

struct CheckpointParts {
  std::vector<std::shared_ptr<const MappedFile>> files;  // what the tensors point into
  ModelConfig config;
  TextAssets text;
  GenerationConfig generation;
  TensorTable tensors;
  std::string digest;
};

// Immutable: may be shared by threads.
class MappedCheckpoint : public Checkpoint {
 public:
  explicit MappedCheckpoint(CheckpointParts parts) : parts_(std::move(parts)) {}

  const ModelConfig& config() const override { return parts_.config; }
  const TextAssets& text() const override { return parts_.text; }
  const GenerationConfig& generation() const override { return parts_.generation; }
  absl::StatusOr<TensorView> Find(const std::string& name, absl::Span<const int64_t> shape) const override {
    return parts_.tensors.Find(name, shape);
  }
  bool Has(absl::string_view name) const override { return parts_.tensors.Has(name); }
  const std::string& digest() const override { return parts_.digest; }

 private:
  const CheckpointParts parts_;
};

}  // namespace slmmesh
