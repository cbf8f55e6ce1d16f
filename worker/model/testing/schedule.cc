#include "worker/model/testing/schedule.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "common/status.h"

namespace slmmesh {
namespace {

int64_t Between(std::mt19937_64& random, int64_t low, int64_t high) {
  return std::uniform_int_distribution<int64_t>(low, high)(random);
}

int64_t BlocksFor(int64_t tokens, int64_t block_size) { return (tokens + block_size - 1) / block_size; }

struct Progress {
  const Tokens* tokens;
  std::vector<uint32_t> blocks;
  int64_t done = 0;
  Logits logits;

  int64_t left() const { return static_cast<int64_t>(tokens->size()) - done; }
};

// The next `count` tokens of a sequence join the batch, all of their logits wanted.
void AddChunk(const Progress& sequence, int64_t count, int64_t block_size, StepBatch* batch) {
  if (batch->query_start.empty()) batch->query_start = batch->block_start = {0};
  for (int64_t position = sequence.done; position < sequence.done + count; ++position) {
    batch->logit_rows.push_back(static_cast<uint32_t>(batch->tokens.size()));
    batch->tokens.push_back((*sequence.tokens)[position]);
    batch->positions.push_back(static_cast<uint32_t>(position));
  }
  const int64_t blocks = BlocksFor(sequence.done + count, block_size);
  batch->block_table.insert(batch->block_table.end(), sequence.blocks.begin(), sequence.blocks.begin() + blocks);
  batch->query_start.push_back(static_cast<uint32_t>(batch->tokens.size()));
  batch->block_start.push_back(static_cast<uint32_t>(batch->block_table.size()));
}

struct Chunk {
  Progress* sequence;
  int64_t count;
};

// The step again with the logits of some rows alone: they are the same, and so is what it leaves in the cache.
absl::Status RunWithFewerRows(ModelGroup& group, StepBatch batch, const Logits& expected, std::mt19937_64& random) {
  const int64_t vocab = group.model(0).config().vocab_size;
  batch.logit_rows.clear();
  for (size_t row = 0; row < batch.tokens.size(); ++row) {
    if (random() % 3 == 0) batch.logit_rows.push_back(static_cast<uint32_t>(row));
  }
  ASSIGN_OR_RETURN(const Logits logits, group.Forward(batch));
  for (size_t i = 0; i < batch.logit_rows.size(); ++i) {
    const float* row = expected.data() + batch.logit_rows[i] * vocab;
    if (std::memcmp(logits.data() + i * vocab, row, vocab * sizeof(float)) == 0) continue;
    return absl::InternalError(absl::StrCat("row ", batch.logit_rows[i], " has other logits when fewer rows have any"));
  }
  return absl::OkStatus();
}

// `random`: null, or what decides whether the step is repeated.
absl::Status RunStep(ModelGroup& group, const std::vector<Chunk>& chunks, int64_t block_size,
                     std::mt19937_64* random = nullptr) {
  StepBatch batch;
  for (const Chunk& chunk : chunks) AddChunk(*chunk.sequence, chunk.count, block_size, &batch);
  ASSIGN_OR_RETURN(const Logits logits, group.Forward(batch));
  if (random != nullptr && (*random)() % 4 == 0) RETURN_IF_ERROR(RunWithFewerRows(group, batch, logits, *random));
  const int64_t vocab = group.model(0).config().vocab_size;
  const float* next = logits.data();
  for (const Chunk& chunk : chunks) {
    chunk.sequence->logits.insert(chunk.sequence->logits.end(), next, next + chunk.count * vocab);
    chunk.sequence->done += chunk.count;
    next += chunk.count * vocab;
  }
  return absl::OkStatus();
}

// Decoding (one token) and prompt chunks of any length, in any order.
std::vector<Chunk> DrawStep(std::vector<Progress>& sequences, int64_t max_tokens, std::mt19937_64& random) {
  std::vector<Progress*> waiting;
  for (Progress& sequence : sequences) {
    if (sequence.left() > 0) waiting.push_back(&sequence);
  }
  std::shuffle(waiting.begin(), waiting.end(), random);
  if (!waiting.empty()) waiting.resize(Between(random, 1, static_cast<int64_t>(waiting.size())));
  std::vector<Chunk> chunks;
  for (Progress* sequence : waiting) {
    const int64_t most = std::min(sequence->left(), max_tokens);
    if (most == 0) break;
    const int64_t count = Between(random, 0, 2) == 0 ? 1 : Between(random, 1, most);
    chunks.push_back({sequence, count});
    max_tokens -= count;
  }
  return chunks;
}

}  // namespace

Tokens RandomTokens(std::mt19937_64& random, int64_t count, int64_t vocab_size) {
  Tokens tokens;
  for (int64_t i = 0; i < count; ++i) tokens.push_back(static_cast<uint32_t>(Between(random, 0, vocab_size - 1)));
  return tokens;
}

absl::StatusOr<Logits> RunAlone(ModelGroup& group, const Tokens& tokens, const KvCacheOptions& cache) {
  KvCacheOptions options = cache;
  options.num_blocks = BlocksFor(static_cast<int64_t>(tokens.size()), cache.block_size);
  RETURN_IF_ERROR(group.ResetKvCache(options));
  Progress sequence{&tokens, std::vector<uint32_t>(options.num_blocks), 0, {}};
  std::iota(sequence.blocks.begin(), sequence.blocks.end(), 0u);
  RETURN_IF_ERROR(RunStep(group, {{&sequence, sequence.left()}}, cache.block_size));
  return sequence.logits;
}

absl::StatusOr<std::vector<Logits>> RunTogether(ModelGroup& group, const std::vector<Tokens>& sequences,
                                                ScheduleOptions options, std::mt19937_64& random) {
  const int64_t block_size = options.cache.block_size;
  const int64_t shared_blocks = options.shared_prefix / block_size;
  options.cache.num_blocks = 5;  // some are never used
  for (const Tokens& tokens : sequences) {
    options.cache.num_blocks += BlocksFor(static_cast<int64_t>(tokens.size()), block_size);
  }
  RETURN_IF_ERROR(group.ResetKvCache(options.cache));
  std::vector<uint32_t> free_blocks(options.cache.num_blocks);
  std::iota(free_blocks.begin(), free_blocks.end(), 0u);
  std::shuffle(free_blocks.begin(), free_blocks.end(), random);

  std::vector<Progress> progress;
  for (const Tokens& tokens : sequences) {
    Progress sequence{&tokens, {}, 0, {}};
    if (!progress.empty()) {
      sequence.blocks.assign(progress[0].blocks.begin(), progress[0].blocks.begin() + shared_blocks);
    }
    while (static_cast<int64_t>(sequence.blocks.size()) < BlocksFor(static_cast<int64_t>(tokens.size()), block_size)) {
      sequence.blocks.push_back(free_blocks.back());
      free_blocks.pop_back();
    }
    progress.push_back(std::move(sequence));
  }
  if (options.shared_prefix > 0) {
    RETURN_IF_ERROR(RunStep(group, {{&progress[0], options.shared_prefix}}, block_size));
    for (Progress& sequence : progress) {
      sequence.done = options.shared_prefix;
      sequence.logits = progress[0].logits;
    }
  }
  for (std::vector<Chunk> chunks; !(chunks = DrawStep(progress, options.max_step_tokens, random)).empty();) {
    RETURN_IF_ERROR(RunStep(group, chunks, block_size, &random));
  }
  std::vector<Logits> logits;
  for (Progress& sequence : progress) logits.push_back(std::move(sequence.logits));
  return logits;
}

}  // namespace slmmesh
