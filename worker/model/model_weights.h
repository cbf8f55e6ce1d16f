// One rank's weights of a decoder: packed matrices and fp32 vectors, read from the checkpoint.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/model/buffer.h"
#include "worker/model/model.h"
#include "worker/model/shard_plan.h"

namespace slmmesh {

// W [rows, columns], packed by the backend: rows of one format make a section, one below the other. No rows or no
// columns: nothing is stored and the product is skipped.
struct PackedMatrix {
  struct Section {
    Buffer packed;
    kernels::WeightFormat format;
    int64_t rows = 0;
  };
  std::vector<Section> sections;
  int64_t rows = 0;
  int64_t columns = 0;
};

// A missing vector (no bias, no norm) has null floats.
struct LayerWeights {
  Buffer attention_norm;  // [hidden]
  PackedMatrix qkv;       // [(q_heads + 2 * kv_heads) * head_dim, hidden] of this rank: q rows, k rows, v rows
  Buffer qkv_bias;        // [(q_heads + 2 * kv_heads) * head_dim] of this rank
  Buffer q_norm;          // [head_dim]
  Buffer k_norm;          // [head_dim]
  PackedMatrix output;    // [hidden, q_heads * head_dim of this rank]
  Buffer output_bias;     // [hidden], whole: added once, after the all-reduce
  Buffer mlp_norm;        // [hidden]
  PackedMatrix gate_up;   // [2 * mlp columns of this rank, hidden]: gate rows, up rows
  Buffer gate_up_bias;    // [2 * mlp columns of this rank]
  PackedMatrix down;      // [hidden, mlp columns of this rank]
  Buffer down_bias;       // [hidden], whole: added once, after the all-reduce
};

struct ModelWeights {
  TensorView embedding;  // [vocab, hidden], rows read straight from the mapped file
  std::vector<LayerWeights> layers;
  Buffer final_norm;                                         // [hidden]
  PackedMatrix head;                                         // [vocab rows of this rank, hidden]
  uint64_t bytes = 0;                                        // in the backend's memory
  kernels::WeightType type = kernels::WeightType::kFloat32;  // of the most bytes
};

// The tensor that the head's rows are read from.
std::string HeadName(const ModelConfig& config);

// Reads this rank's rows and columns only. INVALID_ARGUMENT names the tensor that has the wrong shape or a value that
// is NaN or infinite; RESOURCE_EXHAUSTED when memory does not suffice. options.progress is called on this thread.
absl::StatusOr<ModelWeights> LoadModelWeights(const Checkpoint& checkpoint, const ShardPlan& plan,
                                              kernels::Backend* backend, const ModelOptions& options);

}  // namespace slmmesh
