#include "worker/server/kv_budget.h"

#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"

namespace slmmesh {
namespace {

// Block counts travel between ranks as floats, which are exact up to here.
constexpr int64_t kMaxBlocks = int64_t{1} << 24;

}  // namespace

absl::StatusOr<int64_t> NumKvBlocks(const KvBudget& budget) {
  const int64_t blocks_of_one = (budget.max_model_len + budget.block_size - 1) / budget.block_size;
  const int64_t wanted = std::min(blocks_of_one * budget.max_num_seqs, kMaxBlocks);
  const double share = static_cast<double>(budget.available_bytes) / budget.ranks_on_host;
  const double weights = static_cast<double>(budget.weight_bytes);
  const double left = std::max(0.0, budget.memory_utilization * (share + weights) - weights);
  const double fits = budget.bytes_per_block == 0 ? std::numeric_limits<double>::max()
                                                  : left / static_cast<double>(budget.bytes_per_block);
  if (fits < static_cast<double>(blocks_of_one)) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "KV cache: ", static_cast<int64_t>(left) >> 20, " MiB are left for it on this rank, one sequence of ",
        budget.max_model_len, " tokens takes ", (blocks_of_one * budget.bytes_per_block) >> 20,
        " MiB: lower max-model-len, raise memory-utilization or free memory"));
  }
  return static_cast<int64_t>(std::min(fits, static_cast<double>(wanted)));
}

}  // namespace slmmesh
