#include "tests/golden/replay.h"

#include <algorithm>

#include "common/status.h"
#include "worker/collective/local_communicator.h"
#include "worker/model/model.h"

namespace slmmesh {
namespace {

constexpr int64_t kBlockSize = 16;

// Positions [begin, end) of one sequence whose block table is 0, 1, 2, …
StepBatch StepOf(const std::vector<uint32_t>& tokens, size_t begin, size_t end, const std::vector<uint32_t>& rows) {
  StepBatch batch;
  for (size_t position = begin; position < end; ++position) {
    if (std::binary_search(rows.begin(), rows.end(), position)) {
      batch.logit_rows.push_back(static_cast<uint32_t>(position - begin));
    }
    batch.tokens.push_back(tokens[position]);
    batch.positions.push_back(static_cast<uint32_t>(position));
  }
  const uint32_t blocks = static_cast<uint32_t>((end + kBlockSize - 1) / kBlockSize);
  for (uint32_t block = 0; block < blocks; ++block) batch.block_table.push_back(block);
  batch.query_start = {0, static_cast<uint32_t>(end - begin)};
  batch.block_start = {0, blocks};
  return batch;
}

}  // namespace

absl::StatusOr<std::vector<float>> Replay(std::shared_ptr<const Checkpoint> checkpoint, const ReplayOptions& options,
                                          const std::vector<uint32_t>& prompt, const std::vector<uint32_t>& forced,
                                          const std::vector<uint32_t>& rows) {
  const std::unique_ptr<kernels::Backend> backend = kernels::CreateCpuBackend(options.cpu);
  if (backend == nullptr) return absl::UnavailableError("this machine lacks the instruction set");
  ModelOptions model_options;
  model_options.weights = options.weights;
  model_options.max_model_len = options.max_model_len;
  ASSIGN_OR_RETURN(const std::unique_ptr<Model> model,
                   Model::Load(std::move(checkpoint), backend.get(), model_options));
  KvCacheOptions cache;
  cache.type =
      options.weights.format == kernels::WeightType::kFloat32 ? kernels::KvType::kFloat32 : kernels::KvType::kBFloat16;
  cache.block_size = kBlockSize;
  cache.num_blocks = static_cast<int64_t>(prompt.size() + forced.size()) / kBlockSize + 1;
  RETURN_IF_ERROR(model->ResetKvCache(cache));

  std::vector<uint32_t> tokens = prompt;
  tokens.insert(tokens.end(), forced.begin(), forced.end());
  const std::unique_ptr<Communicator> communicator = CreateLocalCommunicator();
  std::vector<float> all;
  for (size_t begin = 0, end = prompt.size(); begin < tokens.size(); begin = end, end = begin + 1) {
    absl::Span<const float> logits;
    RETURN_IF_ERROR(model->Forward(StepOf(tokens, begin, end, rows), *communicator, &logits));
    all.insert(all.end(), logits.begin(), logits.end());
  }
  return all;
}

}  // namespace slmmesh
