// The Llama-shaped decoder (Llama, Mistral, Qwen2, Qwen3): one rank's shard and its forward pass.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "worker/model/buffer.h"
#include "worker/model/likeliest_logits.h"
#include "worker/model/logit_rows.h"
#include "worker/model/memory_ahead.h"
#include "worker/model/model.h"
#include "worker/model/model_weights.h"
#include "worker/model/shard_plan.h"
#include "worker/model/step_scratch.h"

namespace slmmesh {

class Decoder : public Model {
 public:
  // As Model::Load.
  static absl::StatusOr<std::unique_ptr<Decoder>> Create(std::shared_ptr<const Checkpoint> checkpoint,
                                                         kernels::Backend* backend, const ModelOptions& options);

  const ModelConfig& config() const override { return config_; }
  int64_t max_model_len() const override { return max_model_len_; }
  uint64_t weight_bytes() const override { return weights_.bytes; }
  kernels::WeightType weight_type() const override { return weights_.type; }
  uint64_t KvBytesPerBlock(kernels::KvType type, int64_t block_size) const override;
  absl::Status ResetKvCache(const KvCacheOptions& options) override;
  absl::Status ShareKvCache(Model* owner) override;
  absl::Span<const int64_t> vocab_columns() const override { return plan_.vocab_columns; }
  absl::Status Forward(const StepBatch& batch, Communicator& communicator, absl::Span<const float>* logits) override;

 private:
  Decoder(std::shared_ptr<const Checkpoint> checkpoint, kernels::Backend* backend, ShardPlan plan, ModelWeights weights,
          int64_t max_model_len);

  absl::Status FillRope();
  absl::Status RefineHead(const CopyOptions& copy);
  absl::Status PrepareStep(const StepBatch& batch, const Communicator& communicator);
  uint64_t KvBytesOf(const StepBatch& batch) const;
  void Embed(const StepBatch& batch);
  kernels::RowSource NextBlock(const Buffer& norm, const float* delta);
  kernels::KvCache CacheOf(int64_t layer) const;
  void ProjectQkv(int64_t layer, const kernels::SequenceLayout& layout);
  void Attend(int64_t layer, const kernels::SequenceLayout& layout);
  void FeedForward(int64_t layer, int64_t tokens);
  void KeepUp(const float* delta, int64_t tokens);
  void RefineLogits(int64_t rows);
  absl::Status JoinRanks(const RowParallelShare& share, const Buffer& bias, int64_t tokens, Communicator& communicator);
  kernels::SequenceLayout KeepLogitRows(const StepBatch& batch);
  void MultiplyColumns(const PackedMatrix& matrix, const kernels::RowSource& x, const Buffer& bias, int64_t m,
                       float* y);
  void MultiplyRows(const PackedMatrix& matrix, const kernels::RowSource& x, const RowParallelShare& share, int64_t m,
                    float* y);
  void Multiply(const PackedMatrix& matrix, kernels::RowSource x, const float* bias, const int64_t* leaf_start,
                int num_leaves, int64_t m, float* y);

  const std::shared_ptr<const Checkpoint> checkpoint_;
  const ModelConfig& config_;  // the checkpoint's
  kernels::Backend* const backend_;
  const ShardPlan plan_;
  const ModelWeights weights_;
  const int64_t max_model_len_;
  Buffer rope_cos_;  // [max_model_len, rotary_dim / 2]
  Buffer rope_sin_;

  KvCacheOptions kv_options_;                        // num_blocks 0: there is no cache
  Buffer kv_cache_;                                  // [num_blocks][layers][KvBlockBytes]
  std::unique_ptr<MemoryAhead> kv_ahead_;            // of kv_cache_
  const Decoder* kv_owner_ = this;                   // whose cache is read and written
  std::shared_ptr<const Checkpoint> original_;       // of a copy: its head stays mapped
  std::optional<LikeliestLogits> likeliest_logits_;  // none: logits stay as they are
  StepScratch scratch_;
  LogitRows logit_rows_;
};

}  // namespace slmmesh
