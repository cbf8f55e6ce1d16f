#include "worker/server/model_store.h"

#include <algorithm>

#include "absl/time/clock.h"
#include "common/log.h"
#include "common/status.h"
#include "worker/model/rope.h"

namespace slmmesh {
namespace {

using kernels::ScaleType;
using kernels::WeightType;

// How the target's own copy keeps its weights: groups of 64 take less time, but guess worse than that is worth.
const WeightOptions kCopyWeights = {{WeightType::kInt4, 32, ScaleType::kFloat16, false}, KeepStored::kSameType};

// Of SmolLM2's 30 layers, the last 2 in 8 bits make 16 to 18 % of the wrong guesses right for 5 % more bytes; the same
// bytes elsewhere, far fewer. At temperature 0 the largest 8 logits would do; at 0.8 and 1, 32 guess better.
CopyOptions CopyOf(std::shared_ptr<const Checkpoint> original) {
  const ModelConfig& config = original->config();
  CopyOptions copy;
  copy.original = std::move(original);
  copy.fine_layers = (config.num_layers + 19) / 20;
  copy.fine_weights = {{WeightType::kInt8, 32, ScaleType::kFloat16, false}, KeepStored::kSameType};
  copy.refined_logits = 32;
  return copy;
}

// The part of `whole` from `begin` on, as long as `share`.
std::function<void(double)> Part(const std::function<void(double)>& whole, double begin, double share) {
  return [whole, begin, share](double fraction) { whole(begin + share * fraction); };
}

}  // namespace

ModelStore::ModelStore(const WorkerConfig& config, std::shared_ptr<const Checkpoint> checkpoint,
                       std::shared_ptr<const Checkpoint> draft, std::unique_ptr<kernels::Backend> backend,
                       WorkerMetrics* metrics)
    : config_(config),
      checkpoint_(std::move(checkpoint)),
      draft_checkpoint_(std::move(draft)),
      backend_(std::move(backend)),
      metrics_(metrics) {}

absl::StatusOr<ShardModels> ModelStore::Get(int rank, int size, const std::function<void(double fraction)>& progress) {
  if (model_ != nullptr && rank == rank_ && size == size_) return ShardModels{model_.get(), draft_.get()};
  draft_.reset();
  model_.reset();  // their memory may be needed for the new shards
  const absl::Time start = absl::Now();
  ModelOptions options;
  options.rank = rank;
  options.size = size;
  options.weights = config_.weights;
  options.max_model_len = config_.max_model_len;
  options.progress = progress;
  RETURN_IF_ERROR(Load(std::move(options)));
  rank_ = rank;
  size_ = size;
  const uint64_t weight_bytes = model_->weight_bytes() + (draft_ == nullptr ? 0 : draft_->weight_bytes());
  metrics_->model_loads.Increment();
  metrics_->weight_bytes.Set(static_cast<double>(weight_bytes));
  LogInfo("worker.loaded", {{"rank", rank},
                            {"size", size},
                            {"weight_mib", weight_bytes >> 20},
                            {"draft", draft_ != nullptr},
                            {"seconds", absl::ToDoubleSeconds(absl::Now() - start)},
                            {"backend", backend_->Describe()}});
  return ShardModels{model_.get(), draft_.get()};
}

absl::Status ModelStore::Load(ModelOptions options) {
  const bool has_draft = config_.speculative_method == SpeculationMethod::kSelfQuantized ||
                         config_.speculative_method == SpeculationMethod::kDraft;
  const std::function<void(double)> progress = options.progress;
  if (has_draft) options.progress = Part(progress, 0, 0.5);
  ASSIGN_OR_RETURN(model_, Model::Load(checkpoint_, backend_.get(), options));
  if (!has_draft) return absl::OkStatus();
  options.progress = Part(progress, 0.5, 0.5);
  const absl::Status status = LoadDraft(std::move(options));
  if (!status.ok()) model_.reset();  // both or none
  return status;
}

absl::Status ModelStore::LoadDraft(ModelOptions options) {
  if (config_.speculative_method == SpeculationMethod::kSelfQuantized) {
    options.weights = kCopyWeights;
    options.copy = CopyOf(checkpoint_);
    const auto& source = draft_checkpoint_ == nullptr ? checkpoint_ : draft_checkpoint_;
    ASSIGN_OR_RETURN(draft_, Model::Load(source, backend_.get(), options));
    return draft_->ShareKvCache(model_.get());
  }
  options.max_model_len = std::min(model_->max_model_len(), LongestContext(draft_checkpoint_->config()));
  ASSIGN_OR_RETURN(draft_, Model::Load(draft_checkpoint_, backend_.get(), options));
  return absl::OkStatus();
}

}  // namespace slmmesh
