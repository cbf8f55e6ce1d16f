// POST /v1/chat/completions and /v1/completions: what differs between them.
#include "common/status.h"
#include "router/api/api.h"
#include "router/api/completion_call.h"
#include "router/openai/chat_request.h"
#include "router/openai/completion_request.h"
#include "router/openai/json_text.h"

namespace slmmesh {
namespace {

constexpr uint32_t kCompletionMaxTokens = 16;  // OpenAI's default for completions

LogprobDetail DetailOf(const std::optional<uint32_t>& top_logprobs) {
  if (!top_logprobs.has_value()) return LogprobDetail::kNone;
  return *top_logprobs == 0 ? LogprobDetail::kChosen : LogprobDetail::kTop;
}

absl::StatusOr<std::vector<PreparedPrompt>> PrepareChat(const ChatRequest& request, const ServedModel& model) {
  if (model.chat_template == nullptr) {
    return RefuseField("messages", "this model has no chat template; use /v1/completions");
  }
  PreparedPrompt prompt;
  ASSIGN_OR_RETURN(prompt.tokens,
                   model.chat_template->RenderTokens(*model.tokenizer, MessagesJson(request.messages),
                                                     request.add_generation_prompt, request.template_kwargs_json));
  std::vector<PreparedPrompt> prompts;
  prompts.push_back(std::move(prompt));
  return prompts;
}

// The prompt as text, token by token, with offsets in characters.
absl::Status PrepareEcho(const Prompt& source, const ServedModel& model, bool with_tokens, PreparedPrompt* prompt) {
  std::string text;
  size_t characters = 0;
  text::DecodeStream decoder(model.tokenizer, /*skip_special_tokens=*/true);
  for (uint32_t id : prompt->tokens) {
    if (with_tokens) {
      TokenLogprobText token;
      token.id = id;
      token.bytes = model.tokenizer->TokenBytes(id);
      token.has_logprob = false;
      token.text_offset = characters;
      prompt->echo_tokens.push_back(std::move(token));
    }
    ASSIGN_OR_RETURN(const std::string piece, decoder.Push(id));
    characters += CountCharacters(piece);
    text.append(piece);
  }
  ASSIGN_OR_RETURN(const std::string rest, decoder.Finish());
  prompt->echo_text = std::holds_alternative<PromptText>(source) ? std::get<PromptText>(source) : text + rest;
  return absl::OkStatus();
}

absl::Status CheckTokens(const PromptTokens& tokens, const ServedModel& model) {
  for (uint32_t token : tokens) {
    if (token >= model.info.vocab_size()) {
      return RefuseField(
          "prompt", absl::StrCat(token, " is no token; the vocabulary ends at ", int64_t{model.info.vocab_size()} - 1));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<PreparedPrompt>> PrepareCompletion(const CompletionRequest& request,
                                                              const ServedModel& model) {
  std::vector<PreparedPrompt> prompts;
  for (const Prompt& source : request.prompts) {
    PreparedPrompt prompt;
    if (const auto* tokens = std::get_if<PromptTokens>(&source)) {
      RETURN_IF_ERROR(CheckTokens(*tokens, model));
      prompt.tokens = *tokens;
    } else {
      ASSIGN_OR_RETURN(prompt.tokens,
                       model.tokenizer->Encode(std::get<PromptText>(source), request.add_special_tokens));
    }
    if (request.echo) {
      RETURN_IF_ERROR(PrepareEcho(source, model, request.sampling.top_logprobs.has_value(), &prompt));
    }
    prompts.push_back(std::move(prompt));
  }
  return prompts;
}

}  // namespace

void HandleChatCompletion(std::shared_ptr<ApiCall> call) {
  absl::StatusOr<ChatRequest> parsed = ParseChatRequest(call->request().body, call->context().limits);
  if (!parsed.ok()) return call->RespondError(parsed.status());
  const auto request = std::make_shared<const ChatRequest>(*std::move(parsed));
  CompletionPlan plan;
  plan.kind = CompletionKind::kChat;
  plan.model = request->model;
  plan.sampling = request->sampling;
  plan.stream = request->stream;
  plan.logprobs = DetailOf(request->sampling.top_logprobs);
  plan.prepare = [request](const ServedModel& model) { return PrepareChat(*request, model); };
  std::make_shared<CompletionCall>(std::move(call), std::move(plan))->Start();
}

void HandleCompletion(std::shared_ptr<ApiCall> call) {
  absl::StatusOr<CompletionRequest> parsed = ParseCompletionRequest(call->request().body, call->context().limits);
  if (!parsed.ok()) return call->RespondError(parsed.status());
  const auto request = std::make_shared<const CompletionRequest>(*std::move(parsed));
  CompletionPlan plan;
  plan.kind = CompletionKind::kText;
  plan.model = request->model;
  plan.sampling = request->sampling;
  plan.stream = request->stream;
  plan.logprobs = DetailOf(request->sampling.top_logprobs);
  plan.fallback_max_tokens = kCompletionMaxTokens;
  plan.echo = request->echo;
  plan.prepare = [request](const ServedModel& model) { return PrepareCompletion(*request, model); };
  std::make_shared<CompletionCall>(std::move(call), std::move(plan))->Start();
}

}  // namespace slmmesh
