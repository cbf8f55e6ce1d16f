#include "router/output/output_text.h"

#include <utility>

#include "common/status.h"
#include "router/openai/json_text.h"

namespace slmmesh {

OutputText::OutputText(std::shared_ptr<const text::Tokenizer> tokenizer, Options options)
    : tokenizer_(std::move(tokenizer)),
      decoder_(tokenizer_, options.skip_special_tokens),
      stop_finder_(std::move(options.stop), options.include_stop),
      decoded_characters_(options.first_character) {}

TokenLogprobText OutputText::Describe(const v1::TokenOutput& output) const {
  TokenLogprobText entry;
  entry.id = output.token_id();
  entry.bytes = tokenizer_->TokenBytes(output.token_id());
  entry.logprob = output.logprob();
  entry.text_offset = decoded_characters_;
  for (const v1::TokenLogprob& top : output.top_logprobs()) {
    entry.top.push_back({tokenizer_->TokenBytes(top.token_id()), top.logprob()});
  }
  return entry;
}

absl::Status OutputText::Push(const v1::TokenOutput& output, ChoiceDelta* delta) {
  if (output.has_token_id()) RETURN_IF_ERROR(PushToken(output, delta));
  if (stop_finder_.found()) {
    delta->finish_reason = v1::FINISH_REASON_STOP;
  } else if (output.finish_reason() != v1::FINISH_REASON_UNSPECIFIED) {
    RETURN_IF_ERROR(FinishText(delta));
    // Bytes that never became a character may still have completed a stop string.
    delta->finish_reason = stop_finder_.found() ? v1::FINISH_REASON_STOP : output.finish_reason();
  }
  return absl::OkStatus();
}

absl::Status OutputText::PushToken(const v1::TokenOutput& output, ChoiceDelta* delta) {
  delta->token_ids.push_back(output.token_id());
  if (output.is_stop_token()) return absl::OkStatus();
  if (output.has_logprob()) pending_logprobs_.push_back({decoded_bytes_, Describe(output)});
  absl::StatusOr<std::string> text = decoder_.Push(output.token_id());
  if (!text.ok()) return text.status();
  decoded_bytes_ += text->size();
  decoded_characters_ += CountCharacters(*text);
  Release(stop_finder_.Push(*text), delta);
  return absl::OkStatus();
}

absl::Status OutputText::FinishText(ChoiceDelta* delta) {
  absl::StatusOr<std::string> rest = decoder_.Finish();
  if (!rest.ok()) return rest.status();
  Release(stop_finder_.Push(*rest), delta);
  Release(stop_finder_.Finish(), delta);
  if (stop_finder_.found()) return absl::OkStatus();
  for (PendingLogprob& pending : pending_logprobs_) delta->logprobs.push_back(std::move(pending.entry));
  pending_logprobs_.clear();
  return absl::OkStatus();
}

void OutputText::Release(const std::string& text, ChoiceDelta* delta) {
  released_bytes_ += text.size();
  delta->text.append(text);
  while (!pending_logprobs_.empty() && pending_logprobs_.front().begin < released_bytes_) {
    delta->logprobs.push_back(std::move(pending_logprobs_.front().entry));
    pending_logprobs_.pop_front();
  }
}

}  // namespace slmmesh
