#include "router/grpc/generate_call.h"

#include "absl/time/clock.h"
#include "common/grpc_status.h"
#include "common/log.h"
#include "common/random.h"
#include "common/status.h"
#include "router/api/request_id.h"

namespace slmmesh {
namespace {

constexpr char kMeshTenant[] = "mesh";  // callers inside the mesh share one tenant

using Tokens = absl::StatusOr<std::vector<uint32_t>>;

Tokens PromptTokensOf(const v1::GenerateRequest& request, const ServedModel& model) {
  if (!request.has_token_ids()) return model.tokenizer->Encode(request.text(), /*add_special_tokens=*/true);
  for (uint32_t token : request.token_ids().ids()) {
    if (token >= model.info.vocab_size()) {
      return absl::InvalidArgumentError(absl::StrCat("token_ids: ", token, " is no token"));
    }
  }
  return std::vector<uint32_t>(request.token_ids().ids().begin(), request.token_ids().ids().end());
}

}  // namespace

GenerateCall::GenerateCall(const ApiContext* context, Loop* loop, const v1::GenerateRequest& request,
                           absl::Time deadline)
    : context_(context),
      loop_(loop),
      request_(request),
      arrival_(absl::Now()),
      deadline_(std::min(deadline, arrival_ + context->request_timeout)),
      request_id_(RequestIdOf("")) {}

void GenerateCall::Begin() {
  self_.reset(this);
  loop_->Post([self = self_] {
    if (self->gone_) return;
    self->context_->dispatcher->WaitForModel(
        self->loop_, self->request_.model(), self->deadline_, [self] { return self->gone_; },
        [self](absl::StatusOr<std::shared_ptr<const ServedModel>> model) { self->OnModel(std::move(model)); });
  });
}

void GenerateCall::OnModel(absl::StatusOr<std::shared_ptr<const ServedModel>> model) {
  if (!model.ok()) return End(model.status());
  // Of this object the pool's thread sees the request alone, which never changes.
  const auto tokens = std::make_shared<Tokens>();
  context_->prompt_pool->Run(
      loop_, request_.text().size(),
      [tokens, model = *model, &request = request_] { *tokens = PromptTokensOf(request, *model); },
      [tokens, model = *model, self = shared_from_this()](const absl::Status& taken) {
        if (!self->gone_) self->OnTokens(model, taken.ok() ? std::move(*tokens) : Tokens(taken));
      });
}

void GenerateCall::OnTokens(std::shared_ptr<const ServedModel> model, absl::StatusOr<std::vector<uint32_t>> tokens) {
  absl::Status status = tokens.status();
  if (status.ok()) status = StartGeneration(std::move(model), *std::move(tokens));
  if (!status.ok()) End(status);
}

absl::Status GenerateCall::StartGeneration(std::shared_ptr<const ServedModel> model, std::vector<uint32_t> tokens) {
  ASSIGN_OR_RETURN(SamplingOptions sampling, SamplingOptionsFromProto(request_.options(), context_->limits));
  if (!sampling.seed.has_value()) sampling.seed = RandomUint64();
  Generation::Options options;
  Generation::PromptInput prompt;
  prompt.tokens = std::move(tokens);
  ASSIGN_OR_RETURN(prompt.sampling, ResolveSampling(sampling, context_->defaults, model->info, context_->limits,
                                                    prompt.tokens.size(), /*fallback_max_tokens=*/0));
  options.request_id = request_id_;
  options.tenant = kMeshTenant;
  options.model = std::move(model);
  options.prompts.push_back(std::move(prompt));
  options.text.stop = sampling.stop;
  options.arrival = arrival_;
  options.deadline = deadline_;
  generation_ = std::make_unique<Generation>(context_->dispatcher, loop_, std::move(options), this);
  return generation_->Start();
}

void GenerateCall::OnDelta(uint32_t, ChoiceDelta delta) {
  const std::lock_guard<std::mutex> lock(mutex_);
  pending_.mutable_text()->append(delta.text);
  for (uint32_t id : delta.token_ids) pending_.add_token_ids(id);
  for (const TokenLogprobText& token : delta.logprobs) {
    v1::TokenLogprob* entry = pending_.add_logprobs();
    entry->set_token_id(token.id);
    entry->set_logprob(token.logprob);
  }
  pending_.set_finish_reason(delta.finish_reason);
  if (delta.finish_reason != v1::FINISH_REASON_UNSPECIFIED) {
    const UsageCounts& usage = generation_->usage();
    pending_.mutable_usage()->set_prompt_tokens(usage.prompt_tokens);
    pending_.mutable_usage()->set_completion_tokens(usage.completion_tokens);
    pending_.mutable_usage()->set_cached_tokens(usage.cached_tokens);
  }
  has_pending_ = true;
  MaybeWrite();
}

void GenerateCall::OnEnd(const absl::Status& status) { End(status); }

void GenerateCall::End(const absl::Status& status) {
  LogInfo("router.generate",
          {{"request_id", request_id_},
           {"status", absl::StatusCodeToString(status.code())},
           {"prompt_tokens", generation_ == nullptr ? 0 : generation_->usage().prompt_tokens},
           {"completion_tokens", generation_ == nullptr ? 0 : generation_->usage().completion_tokens},
           {"total_ms", absl::ToDoubleMilliseconds(absl::Now() - arrival_)}});
  const std::lock_guard<std::mutex> lock(mutex_);
  ended_ = true;
  status_ = ToGrpcStatus(status);
  MaybeWrite();
}

void GenerateCall::MaybeWrite() {
  if (is_writing_ || finished_) return;
  if (has_pending_) {
    writing_.Clear();
    writing_.Swap(&pending_);
    has_pending_ = false;
    is_writing_ = true;
    return StartWrite(&writing_);
  }
  if (!ended_) return;
  finished_ = true;
  Finish(status_);
}

void GenerateCall::OnWriteDone(bool ok) {
  const std::lock_guard<std::mutex> lock(mutex_);
  is_writing_ = false;
  if (!ok) has_pending_ = false;
  MaybeWrite();
}

void GenerateCall::OnCancel() {
  loop_->Post([self = self_] {
    if (self->generation_ != nullptr) self->generation_->Cancel();
    self->gone_ = true;
    const std::lock_guard<std::mutex> lock(self->mutex_);
    self->has_pending_ = false;
    self->ended_ = true;
    self->status_ = grpc::Status(grpc::StatusCode::CANCELLED, "the caller went away");
    self->MaybeWrite();
  });
}

void GenerateCall::OnDone() {
  // On the loop: what it has posted and what it runs may still refer to this. A loop that has stopped drops the task,
  // and with it the reference.
  loop_->Post([self = std::move(self_)] {
    self->gone_ = true;
    self->generation_ = nullptr;
  });
}

}  // namespace slmmesh
