#include "router/dispatch/generation.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/status.h"
#include "proto/block_hash.h"
#include "router/openai/api_error.h"
#include "router/openai/sampling_options.h"

namespace slmmesh {

struct Generation::Choice final : OutputReceiver {
  Choice(Generation* generation_in, uint32_t index_in, OutputText text_in)
      : generation(generation_in), index(index_in), text(std::move(text_in)) {}

  void OnOutput(const v1::TokenOutput& output, absl::Time now) override { generation->OnOutput(this, output, now); }
  void OnBroken(const absl::Status& status) override { generation->Fail(status); }
  void OnExpired() override { generation->Expire(); }

  Generation* const generation;
  const uint32_t index;
  OutputText text;
  DispatchTicket ticket;
  bool running = false;
  uint32_t tokens = 0;
  absl::Time first_token, last_token;
};

namespace {

absl::Status WorkerError(const v1::TokenOutput& output) {
  if (output.finish_reason() == v1::FINISH_REASON_CANCELLED) {
    return absl::UnavailableError("the worker gave the request up; send it again");
  }
  absl::Status status(static_cast<absl::StatusCode>(output.error_code()), output.error_message());
  if (status.ok()) return absl::InternalError("the worker ended the request without a reason");
  if (absl::IsResourceExhausted(status) || absl::IsUnavailable(status)) return WithRetryAfter(status, 1);
  return status;
}

}  // namespace

Generation::Generation(Dispatcher* dispatcher, Loop* loop, Options options, GenerationSink* sink)
    : dispatcher_(dispatcher), loop_(loop), options_(std::move(options)), sink_(sink) {}

Generation::~Generation() { Cancel(); }

absl::Status Generation::Start() {
  const uint32_t block_size = options_.model->info.block_size();
  for (const PromptInput& prompt : options_.prompts) {
    usage_.prompt_tokens += prompt.tokens.size();
    prompt_hashes_.push_back(PromptBlockHashes(options_.tenant, prompt.tokens, block_size));
  }
  const uint32_t count = options_.prompts.size() * options_.n;
  for (uint32_t index = 0; index < count; ++index) {
    OutputText::Options text = options_.text;
    text.first_character = options_.prompts[index / options_.n].first_character;
    choices_.push_back(std::make_unique<Choice>(this, index, OutputText(options_.model->tokenizer, std::move(text))));
    if (const absl::Status status = Submit(index); !status.ok()) {
      CancelChoices();
      ended_ = true;
      return status;
    }
  }
  options_.model->metrics->prompt_tokens.Increment(static_cast<double>(usage_.prompt_tokens));
  return absl::OkStatus();
}

absl::Status Generation::Submit(uint32_t index) {
  const PromptInput& prompt = options_.prompts[index / options_.n];
  v1::Submit submit;
  submit.set_request_id(options_.request_id);
  submit.set_tenant(options_.tenant);
  submit.set_cache_salt(options_.tenant);
  submit.mutable_prompt_tokens()->Add(prompt.tokens.begin(), prompt.tokens.end());
  *submit.mutable_sampling() = prompt.sampling;
  submit.mutable_sampling()->set_seed(ChoiceSeed(prompt.sampling.seed(), index % options_.n));
  submit.set_timeout_ms(
      static_cast<uint32_t>(std::max<int64_t>(1, absl::ToInt64Milliseconds(options_.deadline - absl::Now()))));
  Choice& choice = *choices_[index];
  ASSIGN_OR_RETURN(choice.ticket, dispatcher_->Submit(loop_, *options_.model, prompt_hashes_[index / options_.n],
                                                      std::move(submit), options_.deadline, &choice));
  choice.running = true;
  ++unfinished_;
  return absl::OkStatus();
}

void Generation::Count(Choice* choice, const v1::TokenOutput& output, absl::Time now) {
  ModelMetrics& metrics = *options_.model->metrics;
  if (choice->ticket.queued) {
    dispatcher_->FirstOutput(&choice->ticket);
    metrics.queue_time.Observe(output.queue_us() * 1e-6);
    if (choice->index % options_.n == 0) {  // the other choices of a prompt share the first one's blocks
      usage_.cached_tokens += output.cached_tokens();
      metrics.cached_tokens.Increment(output.cached_tokens());
    }
  }
  if (!output.has_token_id()) return;
  if (choice->tokens++ == 0) {
    choice->first_token = now;
    first_token_ = std::min(first_token_, now);
    metrics.time_to_first_token.Observe(absl::ToDoubleSeconds(now - options_.arrival));
  } else {
    metrics.inter_token_latency.Observe(absl::ToDoubleSeconds(now - choice->last_token));
  }
  choice->last_token = now;
  ++usage_.completion_tokens;
  metrics.generation_tokens.Increment();
}

void Generation::OnOutput(Choice* choice, const v1::TokenOutput& output, absl::Time now) {
  const bool is_first = choice->ticket.queued;
  Count(choice, output, now);
  if (output.finish_reason() == v1::FINISH_REASON_ERROR || output.finish_reason() == v1::FINISH_REASON_CANCELLED) {
    FinishChoice(choice, Dispatcher::End::kFinished, output.finish_reason(), now);
    return Fail(WorkerError(output));
  }
  if (is_first && output.prompt_logprobs_size() > 0) sink_->OnPromptLogprobs(choice->index, output);
  ChoiceDelta delta;
  if (const absl::Status status = choice->text.Push(output, &delta); !status.ok()) return Fail(status);
  const bool is_over = delta.finish_reason != v1::FINISH_REASON_UNSPECIFIED;
  if (is_over) {
    // A stop string ends a request that the worker believes to go on.
    const bool worker_goes_on = output.finish_reason() == v1::FINISH_REASON_UNSPECIFIED;
    FinishChoice(choice, worker_goes_on ? Dispatcher::End::kCancelled : Dispatcher::End::kFinished, delta.finish_reason,
                 now);
  }
  const bool is_last = is_over && unfinished_ == 0;
  if (is_last) ended_ = true;
  // The sink may destroy this generation: in OnEnd at the latest.
  GenerationSink* const sink = sink_;
  sink->OnDelta(choice->index, std::move(delta));
  if (is_last) sink->OnEnd(absl::OkStatus());
}

void Generation::FinishChoice(Choice* choice, Dispatcher::End end, v1::FinishReason reason, absl::Time now) {
  ModelMetrics& metrics = *options_.model->metrics;
  const absl::Duration service = choice->tokens > 0 ? now - choice->first_token : absl::ZeroDuration();
  choice->running = false;
  --unfinished_;
  dispatcher_->Finish(loop_, &choice->ticket, end, service);
  switch (reason) {
    case v1::FINISH_REASON_STOP:
      metrics.finished_stop.Increment();
      break;
    case v1::FINISH_REASON_LENGTH:
      metrics.finished_length.Increment();
      break;
    default:
      metrics.finished_abort.Increment();
      return;
  }
  metrics.end_to_end.Observe(absl::ToDoubleSeconds(now - options_.arrival));
  if (choice->tokens > 1) {
    metrics.time_per_output_token.Observe(absl::ToDoubleSeconds(choice->last_token - choice->first_token) /
                                          (choice->tokens - 1));
  }
}

void Generation::CancelChoices() {
  for (const std::unique_ptr<Choice>& choice : choices_) {
    if (!choice->running) continue;
    FinishChoice(choice.get(), Dispatcher::End::kCancelled, v1::FINISH_REASON_CANCELLED, absl::Now());
  }
}

void Generation::Cancel() {
  if (ended_) return;
  ended_ = true;
  CancelChoices();
}

void Generation::Fail(const absl::Status& status) {
  if (ended_) return;
  ended_ = true;
  CancelChoices();
  sink_->OnEnd(status);
}

void Generation::Expire() {
  Fail(absl::DeadlineExceededError("the request took longer than its time; ask for fewer tokens or give it more"));
}

}  // namespace slmmesh
