#include "worker/model/testing/one_block.h"

#include "common/status.h"
#include "worker/model/testing/thread_group.h"

namespace slmmesh {

absl::StatusOr<std::vector<float>> RunOneBlock(Model& model, Model& cache_owner,
                                               const std::vector<uint32_t>& logit_rows) {
  KvCacheOptions cache;
  cache.num_blocks = 1;
  RETURN_IF_ERROR(cache_owner.ResetKvCache(cache));
  StepBatch batch;
  batch.tokens = {5, 6, 7};
  batch.positions = {0, 1, 2};
  batch.query_start = {0, 3};
  batch.block_table = {0};
  batch.block_start = {0, 1};
  batch.logit_rows = logit_rows;
  ThreadGroup thread(1);
  absl::Span<const float> logits;
  RETURN_IF_ERROR(model.Forward(batch, thread.communicator(0), &logits));
  return std::vector<float>(logits.begin(), logits.end());
}

}  // namespace slmmesh
