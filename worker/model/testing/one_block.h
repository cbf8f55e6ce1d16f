// A short step of a model of one rank, for tests.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/model/model.h"

namespace slmmesh {

// Runs tokens 5, 6, 7 of one sequence in a new cache of one block, which `cache_owner` has: `model` itself, or the
// model whose cache it shares. [logit_rows, vocab_size].
absl::StatusOr<std::vector<float>> RunOneBlock(Model& model, Model& cache_owner,
                                               const std::vector<uint32_t>& logit_rows);

}  // namespace slmmesh
