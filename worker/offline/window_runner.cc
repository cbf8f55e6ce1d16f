#include "worker/offline/window_runner.h"

#include <utility>

#include "common/status.h"
#include "worker/collective/local_communicator.h"

namespace slmmesh {
namespace {

constexpr int64_t kBlockSize = 16;

}  // namespace

absl::StatusOr<std::unique_ptr<WindowRunner>> WindowRunner::Create(std::shared_ptr<const Checkpoint> checkpoint,
                                                                   kernels::Backend* backend,
                                                                   const WeightOptions& weights, int64_t context) {
  ModelOptions options;
  options.weights = weights;
  options.max_model_len = context;
  ASSIGN_OR_RETURN(std::unique_ptr<Model> model, Model::Load(std::move(checkpoint), backend, options));
  KvCacheOptions cache;  // as serving has it by default
  if (weights.format.type == kernels::WeightType::kFloat32) cache.type = kernels::KvType::kFloat32;
  cache.block_size = kBlockSize;
  cache.num_blocks = (context + kBlockSize - 1) / kBlockSize;
  RETURN_IF_ERROR(model->ResetKvCache(cache));
  return std::unique_ptr<WindowRunner>(new WindowRunner(std::move(model), CreateLocalCommunicator()));
}

absl::StatusOr<absl::Span<const float>> WindowRunner::Run(absl::Span<const uint32_t> window, int64_t begin,
                                                          int64_t count) {
  StepBatch batch;
  for (int64_t i = 0; i < count; ++i) {
    batch.tokens.push_back(window[static_cast<size_t>(begin + i)]);
    batch.positions.push_back(static_cast<uint32_t>(begin + i));
    batch.logit_rows.push_back(static_cast<uint32_t>(i));
  }
  const auto blocks = static_cast<uint32_t>((begin + count + kBlockSize - 1) / kBlockSize);
  for (uint32_t block = 0; block < blocks; ++block) batch.block_table.push_back(block);
  batch.query_start = {0, static_cast<uint32_t>(count)};
  batch.block_start = {0, blocks};
  absl::Span<const float> logits;
  RETURN_IF_ERROR(model_->Forward(batch, *communicator_, &logits));
  return logits;
}

}  // namespace slmmesh
