// The text of one choice: tokens in, whole characters out, cut at stop strings, each token's log-probability kept with
// the text that it belongs to.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/status/statusor.h"
#include "router/openai/token_logprob.h"
#include "router/output/stop_finder.h"
#include "slmmesh/v1/worker.pb.h"
#include "text/text.h"

namespace slmmesh {

// What one engine step added to a choice.
struct ChoiceDelta {
  std::string text;
  absl::InlinedVector<uint32_t, 1> token_ids;
  std::vector<TokenLogprobText> logprobs;  // of the tokens whose text this is; when asked for
  v1::FinishReason finish_reason = v1::FINISH_REASON_UNSPECIFIED;
};

// One thread at a time.
class OutputText {
 public:
  struct Options {
    std::vector<std::string> stop;
    StopFinder::Include include_stop = StopFinder::Include::kNo;
    bool skip_special_tokens = true;
    size_t first_character = 0;  // text_offset of the first token (echo: the prompt's length)
  };
  OutputText(std::shared_ptr<const text::Tokenizer> tokenizer, Options options);

  // Adds to *delta. Sets finish_reason to the output's own, or to STOP when a stop string was found: the caller then
  // cancels the request. Outputs after the finish are a bug of the caller.
  absl::Status Push(const v1::TokenOutput& output, ChoiceDelta* delta);

 private:
  struct PendingLogprob {
    size_t begin;  // of its text, in decoded bytes
    TokenLogprobText entry;
  };
  absl::Status PushToken(const v1::TokenOutput& output, ChoiceDelta* delta);
  absl::Status FinishText(ChoiceDelta* delta);
  void Release(const std::string& text, ChoiceDelta* delta);
  TokenLogprobText Describe(const v1::TokenOutput& output) const;

  std::shared_ptr<const text::Tokenizer> tokenizer_;
  text::DecodeStream decoder_;
  StopFinder stop_finder_;
  std::deque<PendingLogprob> pending_logprobs_;
  size_t decoded_bytes_ = 0, decoded_characters_ = 0, released_bytes_ = 0;
};

}  // namespace slmmesh
