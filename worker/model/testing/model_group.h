// All ranks of a model in one process, for tests: one backend of one thread and one model a rank.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "worker/model/model.h"
#include "worker/model/testing/thread_group.h"

namespace slmmesh {

struct ModelGroupOptions {
  int size = 1;
  kernels::Isa isa = kernels::Isa::kReference;
  WeightOptions weights = kernels::WeightType::kFloat32;
  int64_t max_model_len = 0;
};

class ModelGroup {
 public:
  static absl::StatusOr<std::unique_ptr<ModelGroup>> Create(std::shared_ptr<const Checkpoint> checkpoint,
                                                            const ModelGroupOptions& options);

  Model& model(int rank) { return *models_[rank]; }
  absl::Status ResetKvCache(const KvCacheOptions& options);

  // Runs the step on all ranks; [L, vocab_size].
  absl::StatusOr<std::vector<float>> Forward(const StepBatch& batch);

 private:
  explicit ModelGroup(int size) : threads_(size) {}

  std::vector<std::unique_ptr<kernels::Backend>> backends_;  // outlive the models
  std::vector<std::unique_ptr<Model>> models_;
  ThreadGroup threads_;
};

}  // namespace slmmesh
