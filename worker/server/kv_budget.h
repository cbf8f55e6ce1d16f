// How many KV blocks a rank can hold: a pure function of its memory and its knobs.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"

namespace slmmesh {

struct KvBudget {
  uint64_t available_bytes = 0;  // on this host, beside the weights that all its ranks have loaded
  uint64_t weight_bytes = 0;     // of this rank
  int ranks_on_host = 1;
  double memory_utilization = 0.9;
  uint64_t bytes_per_block = 0;  // of this rank; 0: it owns no KV heads
  int64_t block_size = 16;
  int64_t max_model_len = 0;
  int64_t max_num_seqs = 0;
};

// Enough for max_num_seqs sequences of max_model_len, or what memory_utilization of this rank's share of the memory
// leaves after the weights. RESOURCE_EXHAUSTED, with numbers and the knobs to turn, when not one such sequence fits.
absl::StatusOr<int64_t> NumKvBlocks(const KvBudget& budget);

}  // namespace slmmesh
