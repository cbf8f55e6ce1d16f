#include "worker/model/decoder.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "common/status.h"
#include "worker/model/rope.h"
#include "worker/model/step_check.h"

namespace slmmesh {
namespace {

absl::StatusOr<int64_t> ChooseMaxModelLen(const ModelConfig& config, int64_t wanted) {
  if (wanted == 0) return config.max_positions;
  if (wanted >= 1 && wanted <= LongestContext(config)) return wanted;
  return absl::InvalidArgumentError(absl::StrCat("maxModelLen is ", wanted, ": this model reaches from 1 to ",
                                                 LongestContext(config), " positions; use a value in that range"));
}

absl::Status CheckSameShape(const ModelConfig& copy, const ModelConfig& original) {
  const auto differ = [](absl::string_view field, auto value, auto wanted) {
    return absl::InvalidArgumentError(absl::StrCat("the copy's ", field, " is ", value, ", in the original ", wanted,
                                                   ": a copy must have its shape; make it from that model"));
  };
  if (copy.architecture != original.architecture) {
    return differ("architecture", ArchitectureName(copy.architecture), ArchitectureName(original.architecture));
  }
  constexpr std::pair<const char*, int64_t ModelConfig::*> kSizes[] = {
      {"number of layers", &ModelConfig::num_layers},
      {"hidden_size", &ModelConfig::hidden_size},
      {"intermediate_size", &ModelConfig::intermediate_size},
      {"number of heads", &ModelConfig::num_q_heads},
      {"number of KV heads", &ModelConfig::num_kv_heads},
      {"head_dim", &ModelConfig::head_dim},
      {"number of rotary dimensions", &ModelConfig::rotary_dim},
      {"vocab_size", &ModelConfig::vocab_size}};
  for (const auto& [field, size] : kSizes) {
    if (copy.*size != original.*size) return differ(field, copy.*size, original.*size);
  }
  return absl::OkStatus();
}

kernels::RowSource Rows(float* rows) {
  kernels::RowSource source;
  source.rows = rows;
  return source;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Model>> Model::Load(std::shared_ptr<const Checkpoint> checkpoint,
                                                   kernels::Backend* backend, const ModelOptions& options) {
  return Decoder::Create(std::move(checkpoint), backend, options);
}

absl::StatusOr<std::unique_ptr<Decoder>> Decoder::Create(std::shared_ptr<const Checkpoint> checkpoint,
                                                         kernels::Backend* backend, const ModelOptions& options) {
  const ModelConfig& config = checkpoint->config();
  if (options.copy.has_value()) RETURN_IF_ERROR(CheckSameShape(config, options.copy->original->config()));
  ASSIGN_OR_RETURN(const int64_t max_model_len, ChooseMaxModelLen(config, options.max_model_len));
  ASSIGN_OR_RETURN(ShardPlan plan, PlanShard(config, options.rank, options.size));
  ASSIGN_OR_RETURN(ModelWeights weights, LoadModelWeights(*checkpoint, plan, backend, options));
  std::unique_ptr<Decoder> decoder(
      new Decoder(std::move(checkpoint), backend, std::move(plan), std::move(weights), max_model_len));
  RETURN_IF_ERROR(decoder->FillRope());
  if (options.copy.has_value()) RETURN_IF_ERROR(decoder->RefineHead(*options.copy));
  return decoder;
}

Decoder::Decoder(std::shared_ptr<const Checkpoint> checkpoint, kernels::Backend* backend, ShardPlan plan,
                 ModelWeights weights, int64_t max_model_len)
    : checkpoint_(std::move(checkpoint)),
      config_(checkpoint_->config()),
      backend_(backend),
      plan_(std::move(plan)),
      weights_(std::move(weights)),
      max_model_len_(max_model_len) {}

absl::Status Decoder::FillRope() {
  const size_t bytes = max_model_len_ * config_.rotary_dim / 2 * sizeof(float);
  ASSIGN_OR_RETURN(rope_cos_, Buffer::Create(backend_, bytes, "rotary tables"));
  ASSIGN_OR_RETURN(rope_sin_, Buffer::Create(backend_, bytes, "rotary tables"));
  FillRopeTables(ComputeRopeFrequencies(config_, max_model_len_), max_model_len_, rope_cos_.floats(),
                 rope_sin_.floats());
  return absl::OkStatus();
}

absl::Status Decoder::RefineHead(const CopyOptions& copy) {
  const ModelConfig& original = copy.original->config();
  ASSIGN_OR_RETURN(TensorView head,
                   copy.original->Find(HeadName(original), {original.vocab_size, original.hidden_size}));
  original_ = copy.original;
  likeliest_logits_.emplace(std::move(head), plan_.vocab, copy.refined_logits);
  return absl::OkStatus();
}

uint64_t Decoder::KvBytesPerBlock(kernels::KvType type, int64_t block_size) const {
  if (plan_.kv_heads.size() == 0) return 0;
  return config_.num_layers * backend_->KvBlockBytes(type, block_size, plan_.kv_heads.size(), config_.head_dim);
}

absl::Status Decoder::ResetKvCache(const KvCacheOptions& options) {
  if (options.num_blocks < 1) {
    return absl::InvalidArgumentError(absl::StrCat("KV cache: num_blocks is ", options.num_blocks, ": at least 1"));
  }
  if (options.block_size < 1 || options.block_size % kernels::kAttentionChunk != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("KV cache: block_size is ", options.block_size, ": use a multiple of ", kernels::kAttentionChunk));
  }
  kv_ahead_.reset();
  kv_cache_ = Buffer();  // frees the old cache before the new one is asked for
  kv_options_ = {};
  const uint64_t bytes = KvBytesPerBlock(options.type, options.block_size) * options.num_blocks;
  ASSIGN_OR_RETURN(kv_cache_, Buffer::Create(backend_, bytes, "the KV cache"));
  kv_options_ = options;
  if (bytes > 0) kv_ahead_ = std::make_unique<MemoryAhead>(backend_, kv_cache_.data(), bytes);
  kv_owner_ = this;
  return absl::OkStatus();
}

absl::Status Decoder::ShareKvCache(Model* owner) {
  const auto* decoder = dynamic_cast<const Decoder*>(owner);
  if (decoder == nullptr || decoder->plan_.rank != plan_.rank || decoder->plan_.size != plan_.size) {
    return absl::InvalidArgumentError("KV cache: only the same shard of a copy of its model can share it");
  }
  RETURN_IF_ERROR(CheckSameShape(config_, decoder->config_));
  kv_ahead_.reset();
  kv_cache_ = Buffer();
  kv_options_ = {};
  kv_owner_ = decoder;
  return absl::OkStatus();
}

// T tokens, L logit rows. Ranks differ in the heads, MLP columns and vocabulary columns that they own; residual and
// delta hold the same bits on all of them between blocks. A block begins by adding the delta that the one before left.
absl::Status Decoder::Forward(const StepBatch& batch, Communicator& communicator, absl::Span<const float>* logits) {
  RETURN_IF_ERROR(PrepareStep(batch, communicator));
  const MemoryAhead::Step in_step(kv_owner_->kv_ahead_.get(), KvBytesOf(batch));

  Embed(batch);
  kernels::SequenceLayout layout = LayoutOf(batch);
  for (int64_t layer = 0; layer < config_.num_layers; ++layer) {
    const LayerWeights& weights = weights_.layers[layer];
    ProjectQkv(layer, layout);
    if (layer + 1 == config_.num_layers) layout = KeepLogitRows(batch);
    if (layout.num_tokens == 0) break;
    Attend(layer, layout);
    RETURN_IF_ERROR(JoinRanks(plan_.attention, weights.output_bias, layout.num_tokens, communicator));
    FeedForward(layer, layout.num_tokens);
    RETURN_IF_ERROR(JoinRanks(plan_.mlp, weights.down_bias, layout.num_tokens, communicator));
  }

  const int64_t rows = layout.num_tokens;
  if (rows > 0 && plan_.vocab.size() > 0) {
    MultiplyColumns(weights_.head, NextBlock(weights_.final_norm, scratch_.delta.floats()), Buffer(), rows,
                    scratch_.logits.floats());
    RefineLogits(rows);
  }
  *logits = {scratch_.logits.floats(), static_cast<size_t>(rows * plan_.vocab.size())};
  return absl::OkStatus();
}

void Decoder::RefineLogits(int64_t rows) {
  if (!likeliest_logits_.has_value()) return;
  for (int64_t row = 0; row < rows; ++row) {
    likeliest_logits_->Recompute(scratch_.normed.floats() + row * config_.hidden_size,
                                 scratch_.logits.floats() + row * plan_.vocab.size());
  }
}

// normed = RmsNorm(residual += delta), made by the product that reads it; without delta nothing is added.
kernels::RowSource Decoder::NextBlock(const Buffer& norm, const float* delta) {
  kernels::RowSource source;
  source.kind = kernels::RowSource::Kind::kRmsNorm;
  source.rows = scratch_.normed.floats();
  source.residual = scratch_.residual.floats();
  source.delta = delta;
  source.weight = norm.floats();
  source.epsilon = static_cast<float>(config_.rms_norm_epsilon);
  return source;
}

// A block of one layer stands beside that of the next: a new block costs a few new pages, never one in every layer.
kernels::KvCache Decoder::CacheOf(int64_t layer) const {
  const KvCacheOptions& kv = kv_owner_->kv_options_;
  const auto stride = static_cast<int64_t>(KvBytesPerBlock(kv.type, kv.block_size));
  return {static_cast<char*>(kv_owner_->kv_cache_.data()) + layer * (stride / config_.num_layers),
          kv.type,
          kv.num_blocks,
          kv.block_size,
          plan_.kv_heads.size(),
          config_.head_dim,
          stride};
}

// residual [T, hidden] → qkv, q and k rotated; this rank's k and v in the cache.
void Decoder::ProjectQkv(int64_t layer, const kernels::SequenceLayout& layout) {
  const float* delta = layer == 0 ? nullptr : scratch_.delta.floats();
  if (plan_.kv_heads.size() == 0) return KeepUp(delta, layout.num_tokens);
  const LayerWeights& weights = weights_.layers[layer];
  float* qkv = scratch_.qkv.floats();  // [T, (q_heads + 2 * kv_heads) * head_dim]
  MultiplyColumns(weights.qkv, NextBlock(weights.attention_norm, delta), weights.qkv_bias, layout.num_tokens, qkv);

  kernels::RopeStoreArgs rope;
  rope.qkv = qkv;
  rope.num_q_heads = plan_.q_heads.size();
  rope.rotary_dim = config_.rotary_dim;
  rope.cos = rope_cos_.floats();
  rope.sin = rope_sin_.floats();
  rope.q_norm = weights.q_norm.floats();
  rope.k_norm = weights.k_norm.floats();
  rope.norm_epsilon = static_cast<float>(config_.rms_norm_epsilon);
  rope.sequences = layout;
  rope.cache = CacheOf(layer);
  backend_->RopeStore(rope);
}

// qkv → delta [T, hidden], this rank's part of the attention block.
void Decoder::Attend(int64_t layer, const kernels::SequenceLayout& layout) {
  if (plan_.kv_heads.size() == 0) return;
  float* attention = scratch_.attention.floats();  // [T, q_heads * head_dim]
  kernels::AttentionArgs attend;
  attend.qkv = scratch_.qkv.floats();
  attend.num_q_heads = plan_.q_heads.size();
  attend.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(config_.head_dim)));
  attend.sliding_window = config_.sliding_window[layer];
  attend.sequences = layout;
  attend.cache = CacheOf(layer);
  attend.out = attention;
  backend_->Attention(attend);
  MultiplyRows(weights_.layers[layer].output, Rows(attention), plan_.attention, layout.num_tokens,
               scratch_.delta.floats());
}

// residual [T, hidden] → delta [T, hidden], this rank's part of the MLP block.
void Decoder::FeedForward(int64_t layer, int64_t tokens) {
  if (plan_.mlp.columns.size() == 0) return KeepUp(scratch_.delta.floats(), tokens);
  const LayerWeights& weights = weights_.layers[layer];
  float* gate_up = scratch_.gate_up.floats();  // [T, 2 * mlp columns]
  MultiplyColumns(weights.gate_up, NextBlock(weights.mlp_norm, scratch_.delta.floats()), weights.gate_up_bias, tokens,
                  gate_up);
  kernels::RowSource activated = Rows(scratch_.mlp.floats());  // [T, mlp columns]
  activated.kind = kernels::RowSource::Kind::kSiluMul;
  activated.gate_up = gate_up;
  MultiplyRows(weights.down, activated, plan_.mlp, tokens, scratch_.delta.floats());
}

// A rank that has no part in a block adds what the one before left, as the others do.
void Decoder::KeepUp(const float* delta, int64_t tokens) {
  if (delta != nullptr) backend_->Add(scratch_.residual.floats(), delta, tokens * config_.hidden_size);
}

// delta: this rank's partial sums → the sums over all ranks, plus the bias.
absl::Status Decoder::JoinRanks(const RowParallelShare& share, const Buffer& bias, int64_t tokens,
                                Communicator& communicator) {
  const int64_t hidden = config_.hidden_size;
  float* delta = scratch_.delta.floats();
  RETURN_IF_ERROR(communicator.AllReduceSum({delta, static_cast<size_t>(tokens * hidden)}, share.contributors));
  if (bias.floats() == nullptr) return absl::OkStatus();
  for (int64_t token = 0; token < tokens; ++token) backend_->Add(delta + token * hidden, bias.floats(), hidden);
  return absl::OkStatus();
}

// y[m, rows] = x[m, columns] · matrix^T + bias: each rank has some of the rows and all columns, one leaf.
void Decoder::MultiplyColumns(const PackedMatrix& matrix, const kernels::RowSource& x, const Buffer& bias, int64_t m,
                              float* y) {
  const int64_t one_leaf[] = {0, matrix.columns};
  Multiply(matrix, x, bias.floats(), one_leaf, 1, m, y);
}

// y[m, rows] = x[m, columns] · matrix^T: each rank has all rows and the columns of its leaves.
void Decoder::MultiplyRows(const PackedMatrix& matrix, const kernels::RowSource& x, const RowParallelShare& share,
                           int64_t m, float* y) {
  Multiply(matrix, x, nullptr, share.leaf_start.data(), share.num_leaves(), m, y);
}

void Decoder::Multiply(const PackedMatrix& matrix, kernels::RowSource x, const float* bias, const int64_t* leaf_start,
                       int num_leaves, int64_t m, float* y) {
  for (const PackedMatrix::Section& section : matrix.sections) {
    backend_->MatMul({x.rows, matrix.columns, section.packed.data(), section.format, bias, y, matrix.rows, m,
                      section.rows, matrix.columns, leaf_start, num_leaves, x});
    x = Rows(x.rows);  // made by the first section
    if (bias != nullptr) bias += section.rows;
    y += section.rows;
  }
}

absl::Status Decoder::PrepareStep(const StepBatch& batch, const Communicator& communicator) {
  if (communicator.size() != plan_.size || communicator.rank() != plan_.rank) {
    return absl::InvalidArgumentError(absl::StrCat("rank ", plan_.rank, " of ", plan_.size, " was given rank ",
                                                   communicator.rank(), " of ", communicator.size()));
  }
  const KvCacheOptions& kv = kv_owner_->kv_options_;
  if (kv.num_blocks == 0) return absl::FailedPreconditionError("the model has no KV cache");
  RETURN_IF_ERROR(CheckStepBatch(batch, {config_.vocab_size, max_model_len_, kv.num_blocks, kv.block_size}));
  return scratch_.Reserve(backend_, config_, plan_, batch.num_tokens(), static_cast<int64_t>(batch.logit_rows.size()));
}

// The part of the cache that reaches to the last block of the batch.
uint64_t Decoder::KvBytesOf(const StepBatch& batch) const {
  if (batch.block_table.empty()) return 0;
  const KvCacheOptions& kv = kv_owner_->kv_options_;
  const uint64_t last_block = *std::max_element(batch.block_table.begin(), batch.block_table.end());
  return (last_block + 1) * KvBytesPerBlock(kv.type, kv.block_size);
}

void Decoder::Embed(const StepBatch& batch) {
  const int64_t hidden = config_.hidden_size;
  float* row = scratch_.residual.floats();
  for (const uint32_t token : batch.tokens) {
    ReadTensor(weights_.embedding, token, token + 1, 0, hidden, row);
    row += hidden;
  }
}

// Moves the rows whose logits are wanted to the front of residual and qkv. They ascend, so no row is overwritten before
// it is moved.
kernels::SequenceLayout Decoder::KeepLogitRows(const StepBatch& batch) {
  if (batch.logit_rows.size() == batch.tokens.size()) return LayoutOf(batch);
  const auto keep = [&](float* rows, int64_t width) {
    float* next = rows;
    for (const uint32_t row : batch.logit_rows) {
      std::copy_n(rows + row * width, width, next);
      next += width;
    }
  };
  keep(scratch_.residual.floats(), config_.hidden_size);
  keep(scratch_.qkv.floats(), (plan_.q_heads.size() + 2 * plan_.kv_heads.size()) * config_.head_dim);
  return logit_rows_.Select(batch);
}

}  // namespace slmmesh
