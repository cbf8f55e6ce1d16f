// Guesses by a model: the target's own quantized copy, or a smaller one.
#pragma once

#include <vector>

#include "absl/container/flat_hash_set.h"
#include "common/clock.h"
#include "worker/engine/depth_policy.h"
#include "worker/engine/drafter.h"
#include "worker/engine/kv_blocks.h"
#include "worker/engine/model_runner.h"
#include "worker/engine/sampler.h"
#include "worker/engine/speculation.h"
#include "worker/model/step_batch.h"

namespace slmmesh {

// What the draft model attends to.
enum class DraftCache {
  // The target's own keys and values. It writes those of the last token and of its guesses there: positions that the
  // verification writes again before it reads them. It is never behind, and takes no memory.
  kTargets,
  // A cache of its own, with blocks of the same numbers. Tokens that it has not seen are computed before the first
  // guess at what follows them.
  kOwn,
};

class ModelDrafter : public Drafter {
 public:
  struct Options {
    DraftCache cache = DraftCache::kTargets;
    AcceptanceRule rule = AcceptanceRule::kCoupled;
    bool stops_early = true;  // where one more guess is not worth its cost; false: makes all that it may
    uint32_t vocab_size = 0;  // the target's
    uint32_t max_len = 0;     // positions that the model reaches
  };
  // `policy` is told what runs cost, and says what guesses are worth.
  ModelDrafter(const Options& options, ModelRunner* runner, KvBlocks* blocks, const Clock* clock, DepthPolicy* policy)
      : options_(options), runner_(runner), blocks_(blocks), clock_(clock), policy_(policy) {}

  absl::Status Draft(absl::Span<const Chunk> chunks, uint32_t max_tokens) override;

 private:
  struct Member {
    Sequence* sequence;
    uint32_t max_guesses;
    double all_right = 1;  // the chance that all its guesses are
  };

  // Makes the first batch: each sequence from where the model has seen it to its last token. Those that reach it are
  // returned, in the order of their logit rows; catching up may take several steps.
  std::vector<Member> Begin(absl::Span<const Chunk> chunks, uint32_t max_tokens);
  // The tokens that the model has still to see, `max_tokens` or all; false when another member writes the same blocks.
  bool CatchUp(Sequence* sequence, uint32_t max_tokens);
  // Makes the batch that computes the newest guess of each.
  void Continue(absl::Span<const Member> members);
  // Appends the sequence's tokens [begin, end), of which those behind its own are its guesses.
  void Append(const Sequence& sequence, uint32_t begin, uint32_t end);
  // One guess at what follows; false when the sequence takes no further one.
  bool Guess(Member* member, absl::Span<const float> logits);
  // Those for which another guess is worth it: none, when together they are not worth another run.
  std::vector<Member> Worthwhile(std::vector<Member> members) const;
  absl::Span<const float> TargetRow(absl::Span<const float> row);  // of the target's vocabulary

  const Options options_;
  ModelRunner* const runner_;
  KvBlocks* const blocks_;
  const Clock* const clock_;
  DepthPolicy* const policy_;
  Sampler sampler_;
  StepBatch batch_;
  absl::flat_hash_set<BlockId> written_;  // by the first batch: shared blocks must have one writer
  std::vector<float> row_;
};

}  // namespace slmmesh
