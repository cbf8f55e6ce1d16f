#include "worker/model/step_check.h"

#include <vector>

#include "common/status.h"

namespace slmmesh {
namespace {

template <typename... Pieces>
absl::Status Refuse(const Pieces&... pieces) {
  return absl::InvalidArgumentError(absl::StrCat("step: ", pieces...));
}

// `starts` must ascend from 0 to `end`, strictly: no sequence is empty.
absl::Status CheckStarts(const char* field, const std::vector<uint32_t>& starts, size_t sequences, size_t end) {
  if (starts.size() != sequences + 1)
    return Refuse(field, " has ", starts.size(), " entries for ", sequences, " sequences");
  if (starts.front() != 0 || starts.back() != end) return Refuse(field, " does not run from 0 to ", end);
  for (size_t s = 0; s < sequences; ++s) {
    if (starts[s] >= starts[s + 1]) return Refuse(field, " leaves sequence ", s, " empty");
  }
  return absl::OkStatus();
}

absl::Status CheckSequence(const StepBatch& batch, size_t s, const StepLimits& limits) {
  const uint32_t begin = batch.query_start[s];
  const uint32_t end = batch.query_start[s + 1];
  for (uint32_t row = begin + 1; row < end; ++row) {
    if (batch.positions[row] != batch.positions[row - 1] + 1) {
      return Refuse("positions of sequence ", s, " are not consecutive");
    }
  }
  const int64_t last = batch.positions[end - 1];
  if (last >= limits.max_model_len) {
    return Refuse("position ", last, " is not below max_model_len ", limits.max_model_len);
  }
  const int64_t blocks = int64_t{batch.block_start[s + 1]} - batch.block_start[s];
  if (last / limits.block_size >= blocks) {
    return Refuse("block_table of sequence ", s, " has ", blocks, " blocks, which do not cover position ", last);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckStepBatch(const StepBatch& batch, const StepLimits& limits) {
  const size_t tokens = batch.tokens.size();
  if (tokens == 0) return Refuse("it has no tokens");
  if (batch.positions.size() != tokens) return Refuse(batch.positions.size(), " positions for ", tokens, " tokens");
  if (batch.query_start.size() < 2) return Refuse("it has no sequences");
  const size_t sequences = batch.query_start.size() - 1;
  RETURN_IF_ERROR(CheckStarts("query_start", batch.query_start, sequences, tokens));
  RETURN_IF_ERROR(CheckStarts("block_start", batch.block_start, sequences, batch.block_table.size()));
  for (const uint32_t token : batch.tokens) {
    if (token >= limits.vocab_size) return Refuse("token ", token, " is not below vocab_size ", limits.vocab_size);
  }
  for (const uint32_t block : batch.block_table) {
    if (block >= limits.num_blocks) return Refuse("block ", block, " is not below num_blocks ", limits.num_blocks);
  }
  for (size_t i = 0; i < batch.logit_rows.size(); ++i) {
    if (batch.logit_rows[i] >= tokens) return Refuse("logit row ", batch.logit_rows[i], " is not below ", tokens);
    if (i > 0 && batch.logit_rows[i] <= batch.logit_rows[i - 1]) return Refuse("logit_rows do not ascend");
  }
  for (size_t s = 0; s < sequences; ++s) RETURN_IF_ERROR(CheckSequence(batch, s, limits));
  return absl::OkStatus();
}

}  // namespace slmmesh
