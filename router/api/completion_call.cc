#include "router/api/completion_call.h"

#include <random>

#include "absl/time/clock.h"
#include "common/random.h"
#include "common/status.h"
#include "router/openai/json_text.h"

namespace slmmesh {
namespace {

uint64_t RandomSeed() {
  static thread_local std::mt19937_64 random(RandomUint64());
  return random();
}

void AddLogprobs(const text::Tokenizer& tokenizer, const v1::TokenOutput& output,
                 std::vector<TokenLogprobText>* tokens) {
  for (int i = 0; i < output.prompt_logprobs_size() && i + 1 < static_cast<int>(tokens->size()); ++i) {
    TokenLogprobText& token = (*tokens)[i + 1];
    token.has_logprob = true;
    token.logprob = output.prompt_logprobs(i).logprob();
    for (const v1::TokenLogprob& top : output.prompt_logprobs(i).top_logprobs()) {
      token.top.push_back({tokenizer.TokenBytes(top.token_id()), top.logprob()});
    }
  }
}

}  // namespace

CompletionCall::CompletionCall(std::shared_ptr<ApiCall> call, CompletionPlan plan)
    : call_(std::move(call)), plan_(std::move(plan)) {}

CompletionCall::~CompletionCall() {
  if (generation_ == nullptr) return;
  const UsageCounts usage = Usage();
  call_->prompt_tokens = usage.prompt_tokens;
  call_->completion_tokens = usage.completion_tokens;
  call_->cached_tokens = usage.cached_tokens;
  call_->first_token = generation_->first_token();
}

void CompletionCall::Start() {
  const auto self = shared_from_this();
  // The exchange keeps this alive until the answer has ended or the client is gone.
  call_->exchange().OnGone([self] {
    if (self->generation_ != nullptr) self->generation_->Cancel();
  });
  call_->context().dispatcher->WaitForModel(
      call_->exchange().loop(), plan_.model, call_->deadline(), [self] { return self->call_->exchange().gone(); },
      [self](absl::StatusOr<std::shared_ptr<const ServedModel>> model) { self->OnModel(std::move(model)); });
}

void CompletionCall::OnModel(absl::StatusOr<std::shared_ptr<const ServedModel>> model) {
  if (!model.ok()) return call_->RespondError(model.status());
  model_ = *std::move(model);
  prepare_begin_ = absl::Now();
  // Of this object the pool's thread sees nothing.
  using Prepared = absl::StatusOr<std::vector<PreparedPrompt>>;
  const auto prepared = std::make_shared<Prepared>();
  call_->context().prompt_pool->Run(
      call_->exchange().loop(), call_->request().body.size(),
      [prepared, model = model_, prepare = plan_.prepare] { *prepared = prepare(*model); },
      [prepared, self = shared_from_this()](const absl::Status& taken) {
        self->OnPrepared(taken.ok() ? std::move(*prepared) : Prepared(taken));
      });
}

void CompletionCall::OnPrepared(absl::StatusOr<std::vector<PreparedPrompt>> prompts) {
  if (call_->exchange().gone()) return;
  absl::Status status = prompts.status();
  if (status.ok()) {
    prompts_ = *std::move(prompts);
    status = Begin();
  }
  if (!status.ok()) {
    generation_ = nullptr;
    return call_->RespondError(status);
  }
  call_->context().router_metrics->prepare_time.Observe(absl::ToDoubleSeconds(absl::Now() - prepare_begin_));
}

absl::StatusOr<v1::SamplingParams> CompletionCall::SamplingOf(const ServedModel& model, const PreparedPrompt& prompt) {
  SamplingOptions options = plan_.sampling;
  if (scores_only()) options.max_tokens = 1;  // the engine generates at least one; it is not shown
  if (!options.seed.has_value()) options.seed = RandomSeed();
  const ApiContext& context = call_->context();
  ASSIGN_OR_RETURN(v1::SamplingParams params, ResolveSampling(options, context.defaults, model.info, context.limits,
                                                              prompt.tokens.size(), plan_.fallback_max_tokens));
  params.set_prompt_logprobs(plan_.echo && plan_.logprobs != LogprobDetail::kNone);
  return params;
}

absl::Status CompletionCall::Begin() {
  Generation::Options options;
  options.request_id = call_->request_id();
  options.tenant = call_->tenant();
  options.model = model_;
  options.n = plan_.sampling.n.value_or(1);
  options.arrival = call_->request().arrival;
  options.deadline = call_->deadline();
  options.text.stop = plan_.sampling.stop;
  options.text.include_stop =
      plan_.sampling.include_stop_str_in_output ? StopFinder::Include::kYes : StopFinder::Include::kNo;
  options.text.skip_special_tokens = plan_.sampling.skip_special_tokens;
  for (PreparedPrompt& prompt : prompts_) {
    ASSIGN_OR_RETURN(v1::SamplingParams sampling, SamplingOf(*model_, prompt));
    options.prompts.push_back({std::move(prompt.tokens), CountCharacters(prompt.echo_text), std::move(sampling)});
  }
  choices_.resize(prompts_.size() * options.n);
  for (uint32_t i = 0; i < choices_.size(); ++i) choices_[i].index = i;
  begun_.resize(choices_.size());
  writer_ = std::make_unique<ResponseWriter>(
      ResponseWriter::Options{plan_.kind, call_->request_id(), model_->info.served_name(), model_->fingerprint,
                              absl::ToUnixSeconds(absl::Now()), plan_.logprobs, plan_.stream.include_usage});
  generation_ =
      std::make_unique<Generation>(call_->context().dispatcher, call_->exchange().loop(), std::move(options), this);
  return generation_->Start();
}

void CompletionCall::OnPromptLogprobs(uint32_t choice, const v1::TokenOutput& output) {
  const uint32_t n = choices_.size() / prompts_.size();
  if (choice % n == 0) AddLogprobs(*model_->tokenizer, output, &prompts_[choice / n].echo_tokens);
}

// What stands before a choice's first token: the role of a chat, the echoed prompt of a completion.
void CompletionCall::BeginChoice(uint32_t choice) {
  begun_[choice] = true;
  const PreparedPrompt& prompt = prompts_[choice / (choices_.size() / prompts_.size())];
  ChoicePart& part = choices_[choice];
  if (plan_.echo) {
    part.text = prompt.echo_text;
    part.logprobs = prompt.echo_tokens;
  }
  if (!plan_.stream.stream) return;
  if (!streaming_) call_->StartEvents();
  streaming_ = true;
  if (plan_.kind == CompletionKind::kChat) writer_->AppendRole(&events_, choice);
  if (plan_.echo) writer_->AppendPart(&events_, part);
  WriteEvents();
}

void CompletionCall::WriteEvents() {
  call_->exchange().Write(events_);
  events_.clear();
}

void CompletionCall::OnDelta(uint32_t choice, ChoiceDelta delta) {
  if (!begun_[choice]) BeginChoice(choice);
  if (scores_only()) {
    delta.text.clear();
    delta.logprobs.clear();
    if (delta.finish_reason != v1::FINISH_REASON_UNSPECIFIED) delta.finish_reason = v1::FINISH_REASON_LENGTH;
  }
  const bool is_over = delta.finish_reason != v1::FINISH_REASON_UNSPECIFIED;
  if (!plan_.stream.stream) {
    ChoicePart& part = choices_[choice];
    part.text.append(delta.text);
    for (TokenLogprobText& token : delta.logprobs) part.logprobs.push_back(std::move(token));
    part.finish_reason = delta.finish_reason;
    return;
  }
  if (delta.text.empty() && delta.logprobs.empty() && !is_over) return;
  writer_->AppendPart(&events_, {choice, std::move(delta.text), std::move(delta.logprobs), delta.finish_reason});
  WriteEvents();
}

UsageCounts CompletionCall::Usage() const {
  UsageCounts usage = generation_->usage();
  if (scores_only()) usage.completion_tokens = 0;
  return usage;
}

void CompletionCall::OnEnd(const absl::Status& status) {
  const auto self = shared_from_this();  // ending the exchange lets go of this
  plan_.stream.stream ? EndStream(status) : EndWhole(status);
}

void CompletionCall::EndWhole(const absl::Status& status) {
  if (!status.ok()) return call_->RespondError(status);
  call_->RespondJson(writer_->Whole(choices_, Usage()));
}

void CompletionCall::EndStream(const absl::Status& status) {
  if (!streaming_) return call_->RespondError(status);  // nothing was sent: the status line can still say it
  if (status.ok()) {
    if (plan_.stream.include_usage) writer_->AppendUsage(&events_, Usage());
    ResponseWriter::AppendDone(&events_);
  } else {
    ResponseWriter::AppendError(&events_, ErrorJson(ToApiError(status)));
  }
  WriteEvents();
  call_->EndEvents(status);
}

}  // namespace slmmesh
