#include "worker/model/shard_plan.h"

#include <algorithm>

#include "common/status.h"
#include "kernels/backend.h"

namespace slmmesh {
namespace {

// Columns of the MLP that stay together: wide enough for a cache line of every type, and dividing the whole evenly.
int64_t MlpUnit(int64_t intermediate_size) {
  int64_t unit = 32;
  while (intermediate_size % unit != 0) unit /= 2;
  return unit;
}

RowParallelShare Share(const LeafStarts& leaves, int64_t columns_per_unit, int rank, int size) {
  const int leaves_per_rank = kVirtualShards / size;
  const UnitRange units = RankRange(leaves, rank, size);
  RowParallelShare share;
  share.columns = {units.begin * columns_per_unit, units.end * columns_per_unit};
  for (int leaf = 0; leaf <= leaves_per_rank; ++leaf) {
    share.leaf_start.push_back((leaves[rank * leaves_per_rank + leaf] - units.begin) * columns_per_unit);
  }
  for (const int64_t leaf : leaves) share.all_leaf_starts.push_back(leaf * columns_per_unit);
  share.contributors = ContributorMask(leaves, size);
  return share;
}

UnitRange VocabRange(const LeafStarts& panels, int64_t vocab_size, int rank, int size) {
  const UnitRange range = RankRange(panels, rank, size);
  return {std::min(range.begin * kernels::kPanelColumns, vocab_size),
          std::min(range.end * kernels::kPanelColumns, vocab_size)};
}

absl::Status CheckEven(const char* field, int64_t value) {
  if (value > 0 && value % 2 == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(field, " is ", value, ": this model family needs an even number"));
}

}  // namespace

absl::StatusOr<ShardPlan> PlanShard(const ModelConfig& config, int rank, int size) {
  if (size != 1 && size != 2 && size != 4 && size != 8) {
    return absl::InvalidArgumentError(absl::StrCat("tensorParallelSize is ", size, ": use 1, 2, 4 or 8"));
  }
  if (rank < 0 || rank >= size) {
    return absl::InvalidArgumentError(absl::StrCat("rank is ", rank, ": it must be in [0, ", size, ")"));
  }
  RETURN_IF_ERROR(CheckEven("hidden_size", config.hidden_size));
  RETURN_IF_ERROR(CheckEven("head_dim", config.head_dim));
  RETURN_IF_ERROR(CheckEven("intermediate_size", config.intermediate_size));
  RETURN_IF_ERROR(CheckEven("rotary_dim", config.rotary_dim));

  const int64_t group = config.num_q_heads / config.num_kv_heads;
  const LeafStarts kv_leaves = HalveIntoLeaves(config.num_kv_heads);
  const int64_t mlp_unit = MlpUnit(config.intermediate_size);
  const LeafStarts mlp_leaves = HalveIntoLeaves(config.intermediate_size / mlp_unit);
  const LeafStarts vocab_panels =
      HalveIntoLeaves((config.vocab_size + kernels::kPanelColumns - 1) / kernels::kPanelColumns);

  ShardPlan plan;
  plan.rank = rank;
  plan.size = size;
  plan.kv_heads = RankRange(kv_leaves, rank, size);
  plan.q_heads = {plan.kv_heads.begin * group, plan.kv_heads.end * group};
  plan.attention = Share(kv_leaves, group * config.head_dim, rank, size);
  plan.mlp = Share(mlp_leaves, mlp_unit, rank, size);
  plan.vocab = VocabRange(vocab_panels, config.vocab_size, rank, size);
  for (int other = 0; other < size; ++other) {
    plan.vocab_columns.push_back(VocabRange(vocab_panels, config.vocab_size, other, size).size());
  }
  return plan;
}

}  // namespace slmmesh
