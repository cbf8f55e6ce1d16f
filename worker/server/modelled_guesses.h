// For the bench alone: the guesses of one model, recorded, and another model's steps with guesses that are right as
// often. Random weights say how long steps take, but their draft is not as right as that of a model that was trained.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/engine/model_runner.h"

namespace slmmesh {

// A guess that was judged, at temperature 0: by how much it led over the draft's second choice, and whether the target
// agreed.
struct JudgedGuess {
  float lead;
  bool is_right;
};

// A line each: the lead and 0 or 1.
absl::StatusOr<std::vector<JudgedGuess>> ReadJudgedGuesses(const std::string& path);
absl::Status WriteJudgedGuesses(const std::string& path, const std::vector<JudgedGuess>& guesses);

// What the runners of draft and target share. Of one stream: the guesses of a step are those that the draft made since
// the target's last run.
class GuessModel {
 public:
  // Records what draft and target say.
  GuessModel() = default;
  // Makes them say what `replayed` says, drawn at random.
  explicit GuessModel(std::vector<JudgedGuess> replayed) : replayed_(std::move(replayed)) {}

  const std::vector<JudgedGuess>& recorded() const { return recorded_; }

 private:
  friend class ModelledDraft;
  friend class ModelledTarget;

  void AddGuess(absl::Span<float> logits);
  void Judge(const StepBatch& batch, absl::Span<float> logits, size_t row_size);

  std::mt19937 random_{1};
  std::vector<JudgedGuess> replayed_;  // empty: records
  std::vector<JudgedGuess> step_;      // the guesses of this step
  std::vector<JudgedGuess> recorded_;
};

class ModelledRunner : public ModelRunner {
 public:
  ModelledRunner(ModelRunner* inner, GuessModel* guesses) : inner_(inner), guesses_(guesses) {}
  uint32_t vocab_size() const override { return inner_->vocab_size(); }

 protected:
  // Runs the model; the logits can be changed then.
  absl::Status RunInner(const StepBatch& batch);

  ModelRunner* const inner_;
  GuessModel* const guesses_;
  std::vector<float> logits_;
};

class ModelledDraft : public ModelledRunner {
 public:
  using ModelledRunner::ModelledRunner;
  absl::Status Run(const StepBatch& batch, absl::Span<const float>* logits) override;
};

class ModelledTarget : public ModelledRunner {
 public:
  using ModelledRunner::ModelledRunner;
  absl::Status Run(const StepBatch& batch, absl::Span<const float>* logits) override;
};

}  // namespace slmmesh
