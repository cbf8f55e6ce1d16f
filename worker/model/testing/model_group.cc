#include "worker/model/testing/model_group.h"

#include <algorithm>
#include <thread>

#include "common/status.h"

namespace slmmesh {

absl::StatusOr<std::unique_ptr<ModelGroup>> ModelGroup::Create(std::shared_ptr<const Checkpoint> checkpoint,
                                                               const ModelGroupOptions& options) {
  std::unique_ptr<ModelGroup> group(new ModelGroup(options.size));
  for (int rank = 0; rank < options.size; ++rank) {
    group->backends_.push_back(kernels::CreateCpuBackend({.threads = 1, .automatic_isa = false, .isa = options.isa}));
    if (group->backends_.back() == nullptr) return absl::UnavailableError("this machine lacks the instruction set");
    ModelOptions model_options;
    model_options.rank = rank;
    model_options.size = options.size;
    model_options.weights = options.weights;
    model_options.max_model_len = options.max_model_len;
    ASSIGN_OR_RETURN(std::unique_ptr<Model> model,
                     Model::Load(checkpoint, group->backends_.back().get(), model_options));
    group->models_.push_back(std::move(model));
  }
  return group;
}

absl::Status ModelGroup::ResetKvCache(const KvCacheOptions& options) {
  for (const std::unique_ptr<Model>& model : models_) RETURN_IF_ERROR(model->ResetKvCache(options));
  return absl::OkStatus();
}

absl::StatusOr<std::vector<float>> ModelGroup::Forward(const StepBatch& batch) {
  const size_t size = models_.size();
  std::vector<absl::Status> statuses(size);
  std::vector<absl::Span<const float>> logits(size);
  const auto run = [&](size_t rank) {
    statuses[rank] = models_[rank]->Forward(batch, threads_.communicator(static_cast<int>(rank)), &logits[rank]);
  };
  std::vector<std::thread> threads;
  for (size_t rank = 1; rank < size; ++rank) threads.emplace_back(run, rank);
  run(0);
  for (std::thread& thread : threads) thread.join();
  for (const absl::Status& status : statuses) RETURN_IF_ERROR(status);

  // Each rank has some columns of every row.
  std::vector<float> joined;
  joined.reserve(batch.logit_rows.size() * models_[0]->config().vocab_size);
  for (size_t row = 0; row < batch.logit_rows.size(); ++row) {
    for (size_t rank = 0; rank < size; ++rank) {
      const int64_t columns = models_[0]->vocab_columns()[rank];
      const float* begin = logits[rank].data() + row * columns;
      joined.insert(joined.end(), begin, begin + columns);
    }
  }
  return joined;
}

}  // namespace slmmesh
