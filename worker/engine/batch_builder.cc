#include "worker/engine/batch_builder.h"

namespace slmmesh {
namespace {

// The row of position p gives the log-probability of prompt token p + 1. Rows that were asked for before a preemption
// are not asked for again.
bool WantsPromptRow(const Sequence& sequence, uint32_t position) {
  return sequence.sampling.params().prompt_logprobs() && position >= sequence.prompt_logprobs.size() &&
         position + 1 < sequence.num_prompt;
}

void AppendChunk(const Chunk& chunk, uint32_t block_size, BuiltBatch* built) {
  const Sequence& sequence = *chunk.sequence;
  StepBatch& batch = built->batch;
  ChunkRows rows{.first = static_cast<uint32_t>(batch.logit_rows.size())};
  const uint32_t end = sequence.num_computed + chunk.num_tokens;
  for (uint32_t position = sequence.num_computed; position < end; ++position) {
    const auto row = static_cast<uint32_t>(batch.tokens.size());
    batch.tokens.push_back(sequence.tokens[position]);
    batch.positions.push_back(position);
    const bool wants_prompt_row = WantsPromptRow(sequence, position);
    const bool is_last = position + 1 == sequence.num_tokens();
    if (wants_prompt_row) ++rows.num_prompt_rows;
    if (is_last) rows.ends_sequence = true;
    if (wants_prompt_row || is_last) batch.logit_rows.push_back(row);
  }
  const std::vector<uint32_t>& guesses = sequence.speculation.guesses;
  for (uint32_t i = 0; i < guesses.size(); ++i) {
    batch.logit_rows.push_back(static_cast<uint32_t>(batch.tokens.size()));
    batch.tokens.push_back(guesses[i]);
    batch.positions.push_back(end + i);
  }
  batch.query_start.push_back(static_cast<uint32_t>(batch.tokens.size()));
  const size_t num_blocks = (end + guesses.size() + block_size - 1) / block_size;
  batch.block_table.insert(batch.block_table.end(), sequence.blocks.begin(),
                           sequence.blocks.begin() + static_cast<ptrdiff_t>(num_blocks));
  batch.block_start.push_back(static_cast<uint32_t>(batch.block_table.size()));
  built->rows.push_back(rows);
  (sequence.num_tokens() > sequence.num_prompt && chunk.num_tokens == 1 ? built->decode_tokens
                                                                        : built->prefill_tokens) += chunk.num_tokens;
}

}  // namespace

BuiltBatch BuildBatch(absl::Span<const Chunk> chunks, uint32_t block_size) {
  BuiltBatch built;
  built.batch.query_start.push_back(0);
  built.batch.block_start.push_back(0);
  for (const Chunk& chunk : chunks) AppendChunk(chunk, block_size, &built);
  return built;
}

}  // namespace slmmesh
