// What one rank owns of a model: which heads, MLP columns and vocabulary columns, and the leaves of its row-parallel
// sums. A pure function of the model's shape, the rank and the degree.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/checkpoint/model_config.h"
#include "worker/model/virtual_shards.h"

namespace slmmesh {

// A rank's share of a dimension over which a row-parallel product sums.
struct RowParallelShare {
  UnitRange columns;                     // of the whole matrix
  std::vector<int64_t> leaf_start;       // [8 / size + 1] relative to columns.begin, as MatMulArgs wants them
  std::vector<int64_t> all_leaf_starts;  // [8 + 1] of the whole matrix, the same on every rank
  uint32_t contributors = 0;             // ranks that own at least one column

  int num_leaves() const { return static_cast<int>(leaf_start.size()) - 1; }
};

struct ShardPlan {
  int rank = 0;
  int size = 1;
  UnitRange kv_heads;
  UnitRange q_heads;                   // those that read this rank's KV heads
  RowParallelShare attention;          // columns of o_proj: q_heads * head_dim
  RowParallelShare mlp;                // columns of down_proj; rows of gate_proj and up_proj
  UnitRange vocab;                     // rows of the LM head
  std::vector<int64_t> vocab_columns;  // [size], of every rank
};

// INVALID_ARGUMENT when the size is none of 1, 2, 4, 8, the rank is not below it, or a dimension is odd where pairs are
// needed.
absl::StatusOr<ShardPlan> PlanShard(const ModelConfig& config, int rank, int size);

}  // namespace slmmesh
