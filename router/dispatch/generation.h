// One request's choices from submit to the last token: seeds, tickets, text, usage, deadline, cancellation. HTTP and
// gRPC differ only in the sink. One loop's thread.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "router/dispatch/dispatcher.h"
#include "router/openai/response.h"
#include "router/output/output_text.h"

namespace slmmesh {

class GenerationSink {
 public:
  virtual ~GenerationSink() = default;
  // What an engine step added to a choice; its finish_reason ends that choice.
  virtual void OnDelta(uint32_t choice, ChoiceDelta delta) = 0;
  // With a choice's first output, where prompt log-probabilities were asked for.
  virtual void OnPromptLogprobs(uint32_t choice, const v1::TokenOutput& output) = 0;
  // Last. OK: every choice has finished. Else the reason; nothing more will come. Not called after Cancel().
  virtual void OnEnd(const absl::Status& status) = 0;
};

class Generation {
 public:
  struct PromptInput {
    std::vector<uint32_t> tokens;
    size_t first_character = 0;  // text_offset of the first generated token
    v1::SamplingParams sampling;
  };
  struct Options {
    std::string request_id;
    std::string tenant;
    std::shared_ptr<const ServedModel> model;
    std::vector<PromptInput> prompts;
    uint32_t n = 1;  // choices per prompt; choice index: prompt * n + i
    OutputText::Options text;
    absl::Time arrival;
    absl::Time deadline;
  };

  // `sink` must outlive this, or its end.
  Generation(Dispatcher* dispatcher, Loop* loop, Options options, GenerationSink* sink);
  ~Generation();  // cancels what still runs
  Generation(const Generation&) = delete;
  Generation& operator=(const Generation&) = delete;

  // Sends every choice. An error means that nothing runs; the sink is not called.
  absl::Status Start();
  void Cancel();

  const UsageCounts& usage() const { return usage_; }
  absl::Time first_token() const { return first_token_; }

 private:
  struct Choice;
  absl::Status Submit(uint32_t index);
  void OnOutput(Choice* choice, const v1::TokenOutput& output, absl::Time now);
  void Count(Choice* choice, const v1::TokenOutput& output, absl::Time now);
  void FinishChoice(Choice* choice, Dispatcher::End end, v1::FinishReason reason, absl::Time now);
  void CancelChoices();
  void Fail(const absl::Status& status);
  void Expire();

  Dispatcher* const dispatcher_;
  Loop* const loop_;
  Options options_;
  GenerationSink* const sink_;
  std::vector<std::unique_ptr<Choice>> choices_;
  std::vector<std::vector<BlockHash>> prompt_hashes_;
  uint32_t unfinished_ = 0;
  bool ended_ = false;
  UsageCounts usage_;
  absl::Time first_token_ = absl::InfiniteFuture();
};

}  // namespace slmmesh
