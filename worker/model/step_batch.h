// One engine step as the model sees it: T tokens of S sequences, flattened. The same on every rank.
#pragma once

#include <cstdint>
#include <vector>

namespace slmmesh {

struct StepBatch {
  std::vector<uint32_t> tokens;       // [T]
  std::vector<uint32_t> positions;    // [T], consecutive within a sequence
  std::vector<uint32_t> query_start;  // [S + 1], 0 … T
  std::vector<uint32_t> block_table;  // ragged; covers positions 0 … last of each sequence
  std::vector<uint32_t> block_start;  // [S + 1]
  std::vector<uint32_t> logit_rows;   // [L], ascending token rows whose logits are wanted

  int64_t num_tokens() const { return static_cast<int64_t>(tokens.size()); }
  int64_t num_sequences() const { return static_cast<int64_t>(query_start.size()) - 1; }
};

}  // namespace slmmesh
