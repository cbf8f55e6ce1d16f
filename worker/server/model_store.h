// The weights in memory: they outlive the epochs of groups, and are read again only for another cut of the model.
#pragma once

#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/model/model.h"
#include "worker/server/shard_models.h"
#include "worker/server/worker_config.h"
#include "worker/server/worker_metrics.h"

namespace slmmesh {

// One thread.
class ModelStore {
 public:
  // `draft`: the checkpoint of the draft model, or of the model's own copy; null where the configuration names none.
  ModelStore(const WorkerConfig& config, std::shared_ptr<const Checkpoint> checkpoint,
             std::shared_ptr<const Checkpoint> draft, std::unique_ptr<kernels::Backend> backend,
             WorkerMetrics* metrics);

  // The shards of `rank` of `size`; valid until a call for another one.
  absl::StatusOr<ShardModels> Get(int rank, int size, const std::function<void(double fraction)>& progress);

 private:
  absl::Status Load(ModelOptions options);
  absl::Status LoadDraft(ModelOptions options);

  const WorkerConfig& config_;
  const std::shared_ptr<const Checkpoint> checkpoint_;
  const std::shared_ptr<const Checkpoint> draft_checkpoint_;
  const std::unique_ptr<kernels::Backend> backend_;  // outlives the models
  WorkerMetrics* const metrics_;
  std::unique_ptr<Model> model_;
  std::unique_ptr<Model> draft_;  // null: no model guesses
  int rank_ = 0;
  int size_ = 0;
};

}  // namespace slmmesh
