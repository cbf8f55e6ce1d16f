#include "worker/offline/evaluate.h"

#include <algorithm>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status.h"
#include "worker/offline/text_tokens.h"
#include "worker/offline/window_runner.h"

namespace slmmesh {
namespace {

constexpr int64_t kChunk = 64;  // positions of a step: bounds the logits in memory

// Compares rows on a few threads: a softmax of a large vocabulary takes its time.
void CompareRows(absl::Span<const float> logits, absl::Span<const float> reference, absl::Span<const uint32_t> targets,
                 int threads, std::vector<RowComparison>* out) {
  const size_t vocabulary = logits.size() / targets.size();
  const size_t first = out->size();
  out->resize(first + targets.size());
  const auto work = [&](size_t thread) {
    for (size_t row = thread; row < targets.size(); row += static_cast<size_t>(threads)) {
      const absl::Span<const float> of_reference =
          reference.empty() ? reference : reference.subspan(row * vocabulary, vocabulary);
      (*out)[first + row] = CompareRow(logits.subspan(row * vocabulary, vocabulary), of_reference, targets[row]);
    }
  };
  std::vector<std::thread> helpers;
  for (int thread = 1; thread < threads; ++thread) helpers.emplace_back(work, static_cast<size_t>(thread));
  work(0);
  for (std::thread& helper : helpers) helper.join();
}

absl::Status CheckOptions(const EvaluateOptions& options, const ModelConfig& config) {
  if (options.context < 16 || options.context > config.max_positions) {
    return absl::InvalidArgumentError(
        absl::StrCat("--context is ", options.context, "; expected 16 to ", config.max_positions));
  }
  if (options.tokens < options.context) {
    return absl::InvalidArgumentError(
        absl::StrCat("--tokens is ", options.tokens, "; expected at least --context, ", options.context));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<EvaluationSummary> Evaluate(const EvaluateOptions& options) {
  ASSIGN_OR_RETURN(std::shared_ptr<const Checkpoint> checkpoint, Checkpoint::Open(options.model));
  RETURN_IF_ERROR(CheckOptions(options, checkpoint->config()));
  ASSIGN_OR_RETURN(const TextTokens text, ReadTextTokens(options.text, *checkpoint, options.tokens));
  const int64_t of_text = options.context - static_cast<int64_t>(text.prefix.size());  // in a window
  const int64_t windows = of_text <= 0 ? 0 : static_cast<int64_t>(text.tokens.size()) / of_text;
  if (windows == 0) {
    return absl::InvalidArgumentError(absl::StrCat(options.text, ": has ", text.tokens.size(),
                                                   " tokens; expected at least --context, ", options.context));
  }
  const std::unique_ptr<kernels::Backend> backend = kernels::CreateCpuBackend(options.cpu);
  if (backend == nullptr) return absl::InvalidArgumentError("--isa names what this machine lacks; expected auto");
  ASSIGN_OR_RETURN(const std::unique_ptr<WindowRunner> model,
                   WindowRunner::Create(checkpoint, backend.get(), options.weights, options.context));
  std::unique_ptr<WindowRunner> reference;
  if (!options.reference.empty()) {
    ASSIGN_OR_RETURN(std::shared_ptr<const Checkpoint> other, Checkpoint::Open(options.reference));
    if (other->config().vocab_size != checkpoint->config().vocab_size) {
      return absl::InvalidArgumentError(absl::StrCat("--reference has a vocabulary of ", other->config().vocab_size,
                                                     "; expected ", checkpoint->config().vocab_size, ", the model's"));
    }
    ASSIGN_OR_RETURN(reference,
                     WindowRunner::Create(std::move(other), backend.get(), options.reference_weights, options.context));
  }

  const int threads = options.cpu.threads > 0 ? options.cpu.threads
                                              : static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  const int64_t first_scored = options.context / 2;  // the position that predicts the first scored token
  std::vector<RowComparison> rows;
  for (int64_t w = 0; w < windows; ++w) {
    std::vector<uint32_t> window = text.prefix;
    window.insert(window.end(), text.tokens.begin() + w * of_text, text.tokens.begin() + (w + 1) * of_text);
    for (int64_t begin = 0, end = 0; begin < options.context - 1; begin = end) {
      const int64_t limit = begin < first_scored ? first_scored : options.context - 1;
      end = std::min(begin + kChunk, limit);
      ASSIGN_OR_RETURN(const absl::Span<const float> logits, model->Run(window, begin, end - begin));
      absl::Span<const float> of_reference;
      if (reference != nullptr) {
        ASSIGN_OR_RETURN(of_reference, reference->Run(window, begin, end - begin));
      }
      if (begin < first_scored) continue;
      const absl::Span<const uint32_t> targets =
          absl::MakeConstSpan(window).subspan(static_cast<size_t>(begin) + 1, static_cast<size_t>(end - begin));
      CompareRows(logits, of_reference, targets, threads, &rows);
    }
    if (options.progress) options.progress(static_cast<double>(w + 1) / static_cast<double>(windows));
  }
  return Summarize(rows);
}

}  // namespace slmmesh
