#include "worker/model/logit_rows.h"

namespace slmmesh {

kernels::SequenceLayout LayoutOf(const StepBatch& batch) {
  return {batch.num_sequences(),    batch.num_tokens(),       batch.query_start.data(),
          batch.block_table.data(), batch.block_start.data(), batch.positions.data()};
}

kernels::SequenceLayout LogitRows::Select(const StepBatch& batch) {
  query_start_.clear();
  block_table_.clear();
  block_start_.clear();
  positions_.clear();
  size_t sequence = 0;
  uint32_t next_of_run = 0;
  for (const uint32_t row : batch.logit_rows) {
    const bool begins_run = positions_.empty() || row != next_of_run || row >= batch.query_start[sequence + 1];
    if (begins_run) {
      while (row >= batch.query_start[sequence + 1]) ++sequence;
      query_start_.push_back(static_cast<uint32_t>(positions_.size()));
      block_start_.push_back(static_cast<uint32_t>(block_table_.size()));
      block_table_.insert(block_table_.end(), batch.block_table.begin() + batch.block_start[sequence],
                          batch.block_table.begin() + batch.block_start[sequence + 1]);
    }
    positions_.push_back(batch.positions[row]);
    next_of_run = row + 1;
  }
  const auto runs = static_cast<int64_t>(query_start_.size());
  query_start_.push_back(static_cast<uint32_t>(positions_.size()));
  block_start_.push_back(static_cast<uint32_t>(block_table_.size()));
  return {runs,
          static_cast<int64_t>(positions_.size()),
          query_start_.data(),
          block_table_.data(),
          block_start_.data(),
          positions_.data()};
}

}  // namespace slmmesh
