#include "worker/server/modelled_guesses.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "common/status.h"

namespace slmmesh {
namespace {

constexpr float kNever = std::numeric_limits<float>::lowest();

size_t Likeliest(absl::Span<const float> row) { return std::max_element(row.begin(), row.end()) - row.begin(); }

}  // namespace

absl::StatusOr<std::vector<JudgedGuess>> ReadJudgedGuesses(const std::string& path) {
  std::ifstream file(path);
  if (!file) return absl::InvalidArgumentError(absl::StrCat(path, ": cannot be read"));
  std::vector<JudgedGuess> guesses;
  for (std::string line; std::getline(file, line);) {
    std::istringstream fields(line);
    JudgedGuess guess = {};
    if (!(fields >> guess.lead >> guess.is_right) || guess.lead < 0 || !(fields >> std::ws).eof()) {
      const size_t number = guesses.size() + 1;
      return absl::InvalidArgumentError(absl::StrCat(path, ": line ", number, ": expected a lead and 0 or 1"));
    }
    guesses.push_back(guess);
  }
  if (guesses.empty()) return absl::InvalidArgumentError(absl::StrCat(path, ": there is no guess in it"));
  return guesses;
}

absl::Status WriteJudgedGuesses(const std::string& path, const std::vector<JudgedGuess>& guesses) {
  std::ofstream file(path);
  for (const JudgedGuess& guess : guesses) file << guess.lead << ' ' << guess.is_right << '\n';
  file.flush();
  return file.good() ? absl::OkStatus() : absl::UnavailableError(absl::StrCat(path, ": cannot be written"));
}

void GuessModel::AddGuess(absl::Span<float> logits) {
  const size_t guess = Likeliest(logits);
  const float best = std::exchange(logits[guess], kNever);
  const float second = logits[Likeliest(logits)];
  if (replayed_.empty()) {
    step_.push_back({best - second, false});
  } else {
    step_.push_back(replayed_[random_() % replayed_.size()]);
  }
  logits[guess] = second + step_.back().lead;
}

// Row i says what follows token i; token i + 1 is the guess at it.
void GuessModel::Judge(const StepBatch& batch, absl::Span<float> logits, size_t row_size) {
  bool is_judged = true;
  for (size_t i = 0; i < step_.size() && i + 1 < batch.tokens.size(); ++i) {
    const absl::Span<float> row = logits.subspan(i * row_size, row_size);
    const uint32_t guess = batch.tokens[i + 1];
    if (!replayed_.empty()) {
      row[guess] = step_[i].is_right ? std::numeric_limits<float>::max() : kNever;
    } else if (is_judged) {
      is_judged = Likeliest(row) == guess;
      recorded_.push_back({step_[i].lead, is_judged});
    }
  }
  step_.clear();
}

absl::Status ModelledRunner::RunInner(const StepBatch& batch) {
  absl::Span<const float> logits;
  RETURN_IF_ERROR(inner_->Run(batch, &logits));
  logits_.assign(logits.begin(), logits.end());
  return absl::OkStatus();
}

absl::Status ModelledDraft::Run(const StepBatch& batch, absl::Span<const float>* logits) {
  RETURN_IF_ERROR(RunInner(batch));
  if (!logits_.empty()) guesses_->AddGuess(absl::MakeSpan(logits_));
  *logits = logits_;
  return absl::OkStatus();
}

absl::Status ModelledTarget::Run(const StepBatch& batch, absl::Span<const float>* logits) {
  RETURN_IF_ERROR(RunInner(batch));
  guesses_->Judge(batch, absl::MakeSpan(logits_), vocab_size());
  *logits = logits_;
  return absl::OkStatus();
}

}  // namespace slmmesh
