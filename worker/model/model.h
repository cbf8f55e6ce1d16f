// One rank's shard of a decoder, loaded, and its forward pass.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "kernels/backend.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/collective/communicator.h"
#include "worker/model/matrix_format.h"
#include "worker/model/step_batch.h"

namespace slmmesh {

// A copy guesses for its original in few bits. Where more are worth it:
struct CopyOptions {
  std::shared_ptr<const Checkpoint> original;  // of the same shape
  // The last layers, whose errors go straight into the logits, are made from the original in `fine_weights`.
  int64_t fine_layers = 0;
  WeightOptions fine_weights;
  int64_t refined_logits = 0;  // so many of a row's largest are computed again by the original's head
};

struct ModelOptions {
  int rank = 0;
  int size = 1;                                   // 1, 2, 4 or 8
  WeightOptions weights;                          // bf16
  std::optional<CopyOptions> copy;                // none: the model is no such copy
  int64_t max_model_len = 0;                      // 0: the model's own
  std::function<void(double fraction)> progress;  // called as weights are read, 0 … 1
};

// The paged KV cache of all layers of this shard: `num_blocks` blocks of `block_size` positions.
struct KvCacheOptions {
  kernels::KvType type = kernels::KvType::kBFloat16;
  int64_t num_blocks = 0;
  int64_t block_size = 16;
};

// Not thread-safe: one thread steps. The weights outlive epochs; the KV cache is made anew for each (ResetKvCache).
class Model {
 public:
  // Reads this rank's bytes only. INVALID_ARGUMENT for a wrong shape or NaN/infinite weights, naming the tensor;
  // RESOURCE_EXHAUSTED when memory does not suffice. The checkpoint must outlive the model (embeddings stay mapped).
  static absl::StatusOr<std::unique_ptr<Model>> Load(std::shared_ptr<const Checkpoint> checkpoint,
                                                     kernels::Backend* backend, const ModelOptions& options);
  virtual ~Model() = default;

  virtual const ModelConfig& config() const = 0;
  virtual int64_t max_model_len() const = 0;
  virtual uint64_t weight_bytes() const = 0;
  virtual kernels::WeightType weight_type() const = 0;  // of most of them

  // Bytes that one KV block of this shard takes over all layers (0 is possible: a rank without KV heads).
  virtual uint64_t KvBytesPerBlock(kernels::KvType type, int64_t block_size) const = 0;
  virtual absl::Status ResetKvCache(const KvCacheOptions& options) = 0;
  // Instead of a cache of its own: this model reads and writes that of `owner`, whichever that has when a step runs.
  // INVALID_ARGUMENT unless both are the same shard of one shape. The owner must outlive this model's steps.
  virtual absl::Status ShareKvCache(Model* owner) = 0;

  // Vocabulary columns of each rank, by rank: sums to vocab_size. GatherToRoot's counts are rows times these.
  virtual absl::Span<const int64_t> vocab_columns() const = 0;

  // Runs the batch with the other ranks; *logits is [L, vocab_columns()[rank]] of this rank, valid until the next call.
  virtual absl::Status Forward(const StepBatch& batch, Communicator& communicator, absl::Span<const float>* logits) = 0;
};

}  // namespace slmmesh
