// What chat completions and completions share: from a checked request to the answer, streamed or whole. One loop's
// thread; it owns itself (through its exchange's callback) from Start() until the answer's end.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "router/api/api.h"
#include "router/dispatch/generation.h"
#include "router/openai/response.h"

namespace slmmesh {

// One prompt, ready to go.
struct PreparedPrompt {
  std::vector<uint32_t> tokens;
  // With echo: the prompt's text, and its tokens where log-probabilities were asked for.
  std::string echo_text;
  std::vector<TokenLogprobText> echo_tokens;
};

struct CompletionPlan {
  CompletionKind kind = CompletionKind::kChat;
  std::string model;
  SamplingOptions sampling;
  StreamOptions stream;
  LogprobDetail logprobs = LogprobDetail::kNone;
  uint32_t fallback_max_tokens = 0;
  bool echo = false;
  // The prompts, once the model is known. Called on any thread: it holds all that it needs.
  std::function<absl::StatusOr<std::vector<PreparedPrompt>>(const ServedModel& model)> prepare;
};

class CompletionCall final : public GenerationSink, public std::enable_shared_from_this<CompletionCall> {
 public:
  CompletionCall(std::shared_ptr<ApiCall> call, CompletionPlan plan);
  ~CompletionCall() override;
  void Start();

  void OnDelta(uint32_t choice, ChoiceDelta delta) override;
  void OnPromptLogprobs(uint32_t choice, const v1::TokenOutput& output) override;
  void OnEnd(const absl::Status& status) override;

 private:
  void OnModel(absl::StatusOr<std::shared_ptr<const ServedModel>> model);
  void OnPrepared(absl::StatusOr<std::vector<PreparedPrompt>> prompts);
  absl::Status Begin();
  absl::StatusOr<v1::SamplingParams> SamplingOf(const ServedModel& model, const PreparedPrompt& prompt);
  void EndWhole(const absl::Status& status);
  void EndStream(const absl::Status& status);
  void BeginChoice(uint32_t choice);
  void WriteEvents();
  UsageCounts Usage() const;
  bool scores_only() const { return plan_.sampling.max_tokens == 0u; }

  const std::shared_ptr<ApiCall> call_;
  CompletionPlan plan_;
  std::shared_ptr<const ServedModel> model_;
  absl::Time prepare_begin_;
  std::unique_ptr<ResponseWriter> writer_;
  std::unique_ptr<Generation> generation_;
  std::vector<PreparedPrompt> prompts_;
  std::vector<ChoicePart> choices_;  // whole answers: what they say so far; streams: their index
  std::vector<bool> begun_;          // by choice
  std::string events_;               // those that are being written
  bool streaming_ = false;           // the head is out
};

}  // namespace slmmesh
