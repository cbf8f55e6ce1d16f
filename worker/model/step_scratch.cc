#include "worker/model/step_scratch.h"

#include <algorithm>

#include "common/status.h"

namespace slmmesh {

absl::Status StepScratch::Reserve(kernels::Backend* backend, const ModelConfig& config, const ShardPlan& plan,
                                  int64_t num_tokens, int64_t num_logit_rows) {
  if (num_tokens <= tokens && num_logit_rows <= logit_rows) return absl::OkStatus();
  num_tokens = std::max(num_tokens, tokens);
  num_logit_rows = std::max(num_logit_rows, logit_rows);
  *this = StepScratch();  // frees the old buffers before the larger ones are asked for
  const auto allocate = [backend](Buffer* buffer, int64_t rows, int64_t columns) -> absl::Status {
    ASSIGN_OR_RETURN(*buffer, Buffer::Create(backend, rows * columns * sizeof(float), "a step's activations"));
    return absl::OkStatus();
  };
  const int64_t head_dim = config.head_dim;
  StepScratch larger;
  RETURN_IF_ERROR(allocate(&larger.residual, num_tokens, config.hidden_size));
  RETURN_IF_ERROR(allocate(&larger.normed, num_tokens, config.hidden_size));
  RETURN_IF_ERROR(allocate(&larger.delta, num_tokens, config.hidden_size));
  RETURN_IF_ERROR(allocate(&larger.qkv, num_tokens, (plan.q_heads.size() + 2 * plan.kv_heads.size()) * head_dim));
  RETURN_IF_ERROR(allocate(&larger.attention, num_tokens, plan.q_heads.size() * head_dim));
  RETURN_IF_ERROR(allocate(&larger.gate_up, num_tokens, 2 * plan.mlp.columns.size()));
  RETURN_IF_ERROR(allocate(&larger.mlp, num_tokens, plan.mlp.columns.size()));
  RETURN_IF_ERROR(allocate(&larger.logits, num_logit_rows, plan.vocab.size()));
  larger.tokens = num_tokens;
  larger.logit_rows = num_logit_rows;
  *this = std::move(larger);
  return absl::OkStatus();
}

}  // namespace slmmesh
