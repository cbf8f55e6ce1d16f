#include "worker/server/model_store.h"

#include "absl/time/clock.h"
#include "common/log.h"
#include "common/status.h"

namespace slmmesh {

ModelStore::ModelStore(const WorkerConfig& config, std::shared_ptr<const Checkpoint> checkpoint,
                       std::unique_ptr<kernels::Backend> backend, WorkerMetrics* metrics)
    : config_(config), checkpoint_(std::move(checkpoint)), backend_(std::move(backend)), metrics_(metrics) {}

absl::StatusOr<Model*> ModelStore::Get(int rank, int size, const std::function<void(double fraction)>& progress) {
  if (model_ != nullptr && rank == rank_ && size == size_) return model_.get();
  model_.reset();  // its memory may be needed for the new shard
  const absl::Time start = absl::Now();
  ModelOptions options;
  options.rank = rank;
  options.size = size;
  options.weights = config_.weights;
  options.max_model_len = config_.max_model_len;
  options.progress = progress;
  ASSIGN_OR_RETURN(model_, Model::Load(checkpoint_, backend_.get(), options));
  rank_ = rank;
  size_ = size;
  metrics_->model_loads.Increment();
  metrics_->weight_bytes.Set(static_cast<double>(model_->weight_bytes()));
  LogInfo("worker.loaded", {{"rank", rank},
                            {"size", size},
                            {"weight_mib", model_->weight_bytes() >> 20},
                            {"seconds", absl::ToDoubleSeconds(absl::Now() - start)},
                            {"backend", backend_->Describe()}});
  return model_.get();
}

}  // namespace slmmesh
