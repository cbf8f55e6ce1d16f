#include "worker/model/bench_step.h"

#include <algorithm>

namespace slmmesh {
namespace {

// Tokens [first, first + count) of `sequences`, each with the blocks of all its positions.
StepBatch MakeBatch(uint32_t sequences, uint32_t first, uint32_t count, uint32_t blocks, int64_t vocab_size) {
  StepBatch batch;
  batch.query_start = batch.block_start = {0};
  for (uint32_t s = 0; s < sequences; ++s) {
    for (uint32_t i = 0; i < count; ++i) {
      batch.tokens.push_back(static_cast<uint32_t>((s * int64_t{7919} + (first + i) * int64_t{104729}) % vocab_size));
      batch.positions.push_back(first + i);
    }
    for (uint32_t block = 0; block < blocks; ++block) batch.block_table.push_back(s * blocks + block);
    batch.query_start.push_back(static_cast<uint32_t>(batch.tokens.size()));
    batch.block_start.push_back(static_cast<uint32_t>(batch.block_table.size()));
    batch.logit_rows.push_back(static_cast<uint32_t>(batch.tokens.size()) - 1);
  }
  return batch;
}

// What is computed: of the last layer's rows, after its keys and values, those alone whose logits are wanted.
double Operations(const ModelConfig& config, const StepBatch& batch) {
  const int64_t q_width = config.num_q_heads * config.head_dim;
  const int64_t kv_width = config.num_kv_heads * config.head_dim;
  const int64_t qkv_weights = config.hidden_size * (q_width + 2 * kv_width);
  const int64_t other_weights = config.hidden_size * (q_width + 3 * config.intermediate_size);
  double visible = 0, last_visible = 0;  // keys, over all tokens, and over those of the last layer
  for (const uint32_t position : batch.positions) visible += position + 1;
  for (const uint32_t row : batch.logit_rows) last_visible += batch.positions[row] + 1;
  const auto layers = static_cast<double>(config.num_layers);
  const auto tokens = static_cast<double>(batch.num_tokens());
  const auto rows = static_cast<double>(batch.logit_rows.size());
  return 2.0 * static_cast<double>(qkv_weights) * tokens * layers +
         2.0 * static_cast<double>(other_weights) * (tokens * (layers - 1) + rows) +
         4.0 * static_cast<double>(q_width) * (visible * (layers - 1) + last_visible) +
         2.0 * static_cast<double>(config.vocab_size * config.hidden_size) * rows;
}

BenchStep MakeStep(const ModelConfig& config, const char* kind, uint32_t count, std::vector<StepBatch> chunks) {
  BenchStep step = {kind, count, std::move(chunks), 0, 0};
  for (const StepBatch& chunk : step.chunks) step.operations += Operations(config, chunk);
  step.kv_blocks = static_cast<uint32_t>(step.chunks.front().block_table.size());
  return step;
}

uint32_t BlocksOf(uint32_t positions) { return (positions + kBenchBlockSize - 1) / kBenchBlockSize; }

}  // namespace

BenchStep PrefillStep(const ModelConfig& config, uint32_t tokens) {
  std::vector<StepBatch> chunks;
  for (uint32_t first = 0; first < tokens; first += kBenchChunk) {
    if (!chunks.empty()) chunks.back().logit_rows.clear();
    const uint32_t count = std::min(kBenchChunk, tokens - first);
    chunks.push_back(MakeBatch(1, first, count, BlocksOf(tokens), config.vocab_size));
  }
  return MakeStep(config, "prefill", tokens, std::move(chunks));
}

BenchStep DecodeStep(const ModelConfig& config, uint32_t sequences, uint32_t context) {
  return MakeStep(config, "decode", sequences,
                  {MakeBatch(sequences, context, 1, BlocksOf(context + 1), config.vocab_size)});
}

}  // namespace slmmesh
