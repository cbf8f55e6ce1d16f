// For tests: a model whose logits are a pure hash of the token history, as a paged KV cache holds it. Each token is
// written into its (block, slot) and every context is read back through the block table, so a block that is shared,
// freed or written wrongly changes the tokens that come out. It also checks the shape of every batch.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "common/status.h"
#include "proto/block_hash.h"
#include "worker/engine/model_runner.h"

namespace slmmesh {

// The logits after `history`: independent of any engine, for oracles.
inline std::vector<float> HashedLogits(absl::Span<const uint32_t> history, uint32_t vocab_size) {
  const uint64_t hash = NextBlockHash(0, {history.data(), history.size()});
  std::vector<float> logits(vocab_size);
  for (uint32_t token = 0; token < vocab_size; ++token) {
    const uint64_t bits = NextBlockHash(hash, {&token, 1});
    logits[token] = static_cast<float>(bits >> 40) * 0x1p-24f * 8 - 4;  // [-4, 4)
  }
  return logits;
}

class FakeRunner : public ModelRunner {
 public:
  FakeRunner(uint32_t vocab_size, uint32_t num_blocks, uint32_t block_size)
      : vocab_size_(vocab_size),
        block_size_(block_size),
        slots_(std::make_shared<std::vector<uint32_t>>(size_t{num_blocks} * block_size, kNothing)) {}

  uint32_t vocab_size() const override { return vocab_size_; }

  absl::Status Run(const StepBatch& batch, absl::Span<const float>* logits) override {
    if (!fail_with.ok()) return fail_with;
    RETURN_IF_ERROR(Check(batch));
    ++num_steps;
    last_batch = batch;
    if (on_run) on_run(batch);
    std::vector<bool> written(slots_->size(), false);
    for (int64_t s = 0; s < batch.num_sequences(); ++s) {
      for (uint32_t t = batch.query_start[s]; t < batch.query_start[s + 1]; ++t) {
        const size_t slot = SlotOf(batch, s, batch.positions[t]);
        if (written[slot]) return absl::InternalError("two tokens of a step share a slot");
        written[slot] = true;
        (*slots_)[slot] = Mark(batch.tokens[t]);
      }
    }
    logits_.clear();
    for (uint32_t row : batch.logit_rows) AppendLogits(batch, row);
    *logits = logits_;
    return absl::OkStatus();
  }

  absl::Status fail_with;
  uint64_t num_steps = 0;
  StepBatch last_batch;
  std::function<void(const StepBatch&)> on_run;

 protected:
  FakeRunner(uint32_t vocab_size, const FakeRunner& cache)
      : vocab_size_(vocab_size), block_size_(cache.block_size_), slots_(cache.slots_) {}

  // What a token's KV is: of equal tokens the same, if the same model computed it.
  virtual uint32_t Mark(uint32_t token) const { return token; }
  virtual std::vector<float> LogitsAfter(const std::vector<uint32_t>& marks) const {
    return HashedLogits(marks, vocab_size_);
  }

 private:
  static constexpr uint32_t kNothing = UINT32_MAX;

  size_t SlotOf(const StepBatch& batch, int64_t sequence, uint32_t position) const {
    const uint32_t block = batch.block_table[batch.block_start[sequence] + position / block_size_];
    return size_t{block} * block_size_ + position % block_size_;
  }

  void AppendLogits(const StepBatch& batch, uint32_t row) {
    int64_t sequence = 0;
    while (batch.query_start[sequence + 1] <= row) ++sequence;
    std::vector<uint32_t> history;
    for (uint32_t position = 0; position <= batch.positions[row]; ++position) {
      history.push_back((*slots_)[SlotOf(batch, sequence, position)]);
    }
    const std::vector<float> row_logits = LogitsAfter(history);
    logits_.insert(logits_.end(), row_logits.begin(), row_logits.end());
  }

  absl::Status Check(const StepBatch& batch) const {
    const auto bad = [](const std::string& what) { return absl::InternalError("malformed batch: " + what); };
    if (batch.num_sequences() < 1 || batch.query_start[0] != 0 || batch.block_start[0] != 0) return bad("starts");
    if (batch.query_start.back() != batch.tokens.size()) return bad("query_start");
    if (batch.block_start.size() != batch.query_start.size()) return bad("block_start");
    if (batch.block_start.back() != batch.block_table.size()) return bad("block_table");
    if (batch.positions.size() != batch.tokens.size()) return bad("positions");
    for (int64_t s = 0; s < batch.num_sequences(); ++s) {
      const uint32_t begin = batch.query_start[s], end = batch.query_start[s + 1];
      if (begin >= end) return bad("an empty sequence");
      for (uint32_t t = begin + 1; t < end; ++t) {
        if (batch.positions[t] != batch.positions[t - 1] + 1) return bad("a gap in positions");
      }
      const uint32_t blocks = batch.block_start[s + 1] - batch.block_start[s];
      if (blocks != batch.positions[end - 1] / block_size_ + 1) return bad("the block table's length");
    }
    for (uint32_t block : batch.block_table) {
      if (size_t{block} * block_size_ >= slots_->size()) return bad("a block that does not exist");
    }
    for (size_t i = 0; i < batch.logit_rows.size(); ++i) {
      if (batch.logit_rows[i] >= batch.tokens.size()) return bad("a logit row that does not exist");
      if (i > 0 && batch.logit_rows[i] <= batch.logit_rows[i - 1]) return bad("logit rows out of order");
    }
    return absl::OkStatus();
  }

  const uint32_t vocab_size_, block_size_;
  const std::shared_ptr<std::vector<uint32_t>> slots_;  // [num_blocks, block_size]: the KV that lies there
  std::vector<float> logits_;
};

// Guesses what the FakeRunner says after `agreement` of 100 histories. What it computes of a token is not what the
// target computes: a target that attends to it says something else.
class FakeDraft : public FakeRunner {
 public:
  // With a cache of its own.
  FakeDraft(uint32_t vocab_size, uint32_t num_blocks, uint32_t block_size, uint32_t agreement)
      : FakeRunner(vocab_size, num_blocks, block_size), agreement_(agreement) {}
  // With the target's.
  FakeDraft(uint32_t vocab_size, const FakeRunner& target, uint32_t agreement)
      : FakeRunner(vocab_size, target), agreement_(agreement) {}

 protected:
  uint32_t Mark(uint32_t token) const override { return token | kDraftsMark; }
  std::vector<float> LogitsAfter(const std::vector<uint32_t>& marks) const override {
    std::vector<uint32_t> history = marks;
    for (uint32_t& token : history) token &= ~kDraftsMark;
    if (NextBlockHash(1, {history.data(), history.size()}) % 100 >= agreement_) history.push_back(0);
    return HashedLogits(history, vocab_size());
  }

 private:
  static constexpr uint32_t kDraftsMark = 1u << 31;
  const uint32_t agreement_;
};

}  // namespace slmmesh
