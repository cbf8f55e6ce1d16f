// GET /v1/models and /v1/models/{id}; POST /tokenize and /detokenize.
#include "absl/strings/str_cat.h"
#include "common/status.h"
#include "router/api/api.h"
#include "router/openai/json_text.h"
#include "router/openai/response.h"
#include "router/openai/token_logprob.h"
#include "router/openai/tokenize_request.h"

namespace slmmesh {
namespace {

ModelEntry EntryOf(const ServedModel& model) {
  return {model.info.served_name(), model.info.created_unix_seconds(), model.info.max_model_len()};
}

absl::StatusOr<std::string> Tokenize(const TokenizeRequest& request, const ServedModel& model) {
  if (request.is_chat && model.chat_template == nullptr) {
    return RefuseField("messages", "this model has no chat template; give prompt");
  }
  absl::StatusOr<std::vector<uint32_t>> tokens =
      request.is_chat ? model.chat_template->RenderTokens(*model.tokenizer, MessagesJson(request.messages),
                                                          request.add_generation_prompt, request.template_kwargs_json)
                      : model.tokenizer->Encode(request.prompt, request.add_special_tokens);
  if (!tokens.ok()) return tokens.status();
  std::vector<std::string> strings;
  if (request.return_token_strs) {
    for (uint32_t token : *tokens) strings.push_back(TokenString(model.tokenizer->TokenBytes(token)));
  }
  return TokenizeJson(*tokens, model.info.max_model_len(), request.return_token_strs ? &strings : nullptr);
}

absl::StatusOr<std::string> Detokenize(const DetokenizeRequest& request, const ServedModel& model) {
  for (uint32_t token : request.tokens) {
    if (token >= model.info.vocab_size()) return RefuseField("tokens", absl::StrCat(token, " is no token"));
  }
  ASSIGN_OR_RETURN(const std::string text, model.tokenizer->Decode(request.tokens, /*skip_special_tokens=*/false));
  std::string json = "{\"prompt\":";
  AppendJsonString(&json, text);
  return json + "}";
}

template <typename Request, typename Work>
void AnswerForModel(const std::shared_ptr<ApiCall>& call, absl::StatusOr<Request> request, Work work) {
  if (!request.ok()) return call->RespondError(request.status());
  const auto model = call->context().dispatcher->FindModel(request->model);
  if (!model.ok()) return call->RespondError(model.status());
  const auto json = std::make_shared<absl::StatusOr<std::string>>();
  call->context().prompt_pool->Run(
      call->exchange().loop(), call->request().body.size(),
      [json, work, model = *model, request = *std::move(request)] { *json = work(request, *model); },
      [json, call](const absl::Status& taken) {
        if (!taken.ok()) return call->RespondError(taken);
        json->ok() ? call->RespondJson(*std::move(*json)) : call->RespondError(json->status());
      });
}

}  // namespace

void HandleModels(std::shared_ptr<ApiCall> call) {
  std::vector<ModelEntry> entries;
  for (const auto& model : call->context().dispatcher->Models()) entries.push_back(EntryOf(*model));
  call->RespondJson(ModelListJson(entries));
}

void HandleModel(std::shared_ptr<ApiCall> call, const std::string& name) {
  for (const auto& model : call->context().dispatcher->Models()) {
    if (model->info.served_name() == name) return call->RespondJson(ModelJson(EntryOf(*model)));
  }
  call->RespondError(WithCode(absl::NotFoundError("model: not served here; see GET /v1/models"), "model_not_found"));
}

void HandleTokenize(std::shared_ptr<ApiCall> call) {
  AnswerForModel(call, ParseTokenizeRequest(call->request().body), Tokenize);
}

void HandleDetokenize(std::shared_ptr<ApiCall> call) {
  AnswerForModel(call, ParseDetokenizeRequest(call->request().body), Detokenize);
}

}  // namespace slmmesh
