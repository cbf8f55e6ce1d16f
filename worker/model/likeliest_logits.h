// A head in few bits tells which tokens are likely, but not well which is likeliest. The logits of the few that it
// finds are computed again from the head as the checkpoint stores it, which reads next to nothing of that.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "worker/checkpoint/checkpoint.h"
#include "worker/model/virtual_shards.h"

namespace slmmesh {

// Not thread-safe: holds scratch memory.
class LikeliestLogits {
 public:
  // `head`: [vocab, hidden], whose file must stay mapped. `rows`: this rank's. `count`: of logits, at most.
  LikeliestLogits(TensorView head, UnitRange rows, int64_t count)
      : head_(std::move(head)), rows_(rows), count_(count) {}

  // logits [rows.size()] of one token with the final norm's output `normed` [hidden].
  void Recompute(const float* normed, float* logits);

 private:
  // Fills likeliest_ with where the largest logits are.
  void Find(const float* logits);

  const TensorView head_;
  const UnitRange rows_;
  const int64_t count_;
  std::vector<float> chunk_maxima_, row_;
  std::vector<int64_t> likeliest_;
};

}  // namespace slmmesh
