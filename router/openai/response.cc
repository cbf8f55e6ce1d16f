#include "router/openai/response.h"

#include "router/openai/json_text.h"

namespace slmmesh {
namespace {

void AppendUsageObject(std::string* out, const UsageCounts& usage) {
  out->append("{\"prompt_tokens\":");
  AppendJsonInt(out, usage.prompt_tokens);
  out->append(",\"total_tokens\":");
  AppendJsonInt(out, usage.prompt_tokens + usage.completion_tokens);
  out->append(",\"completion_tokens\":");
  AppendJsonInt(out, usage.completion_tokens);
  out->append(",\"prompt_tokens_details\":{\"cached_tokens\":");
  AppendJsonInt(out, usage.cached_tokens);
  out->append("}}");
}

void AppendIndex(std::string* out, uint32_t index) {
  out->append("{\"index\":");
  AppendJsonInt(out, index);
}

}  // namespace

const char* FinishReasonName(v1::FinishReason reason) {
  switch (reason) {
    case v1::FINISH_REASON_STOP:
      return "stop";
    case v1::FINISH_REASON_LENGTH:
      return "length";
    default:
      return "";
  }
}

ResponseWriter::ResponseWriter(Options options)
    : options_(std::move(options)),
      chunk_head_("data: " +
                  Head(options_.kind == CompletionKind::kChat ? "chat.completion.chunk" : "text_completion")) {}

std::string ResponseWriter::Head(const char* object) const {
  std::string out = "{\"id\":";
  AppendJsonString(&out, (options_.kind == CompletionKind::kChat ? "chatcmpl-" : "cmpl-") + options_.request_id);
  out.append(",\"object\":\"").append(object).append("\",\"created\":");
  AppendJsonInt(&out, options_.created_unix_seconds);
  out.append(",\"model\":");
  AppendJsonString(&out, options_.model);
  out.append(",\"system_fingerprint\":");
  AppendJsonString(&out, options_.fingerprint);
  out.append(",\"choices\":[");
  return out;
}

void ResponseWriter::AppendLogprobsAndFinish(std::string* out, const ChoicePart& part) const {
  out->append(",\"logprobs\":");
  if (options_.logprobs == LogprobDetail::kNone || (part.logprobs.empty() && part.text.empty())) {
    out->append("null");
  } else if (options_.kind == CompletionKind::kChat) {
    AppendChatLogprobs(out, part.logprobs);
  } else {
    AppendCompletionLogprobs(out, part.logprobs, options_.logprobs == LogprobDetail::kTop);
  }
  const char* finish = FinishReasonName(part.finish_reason);
  out->append(",\"finish_reason\":");
  if (*finish == 0) {
    out->append("null}");
  } else {
    out->append("\"").append(finish).append("\"}");
  }
}

void ResponseWriter::AppendChoice(std::string* out, const ChoicePart& part) const {
  AppendIndex(out, part.index);
  if (options_.kind == CompletionKind::kChat) {
    out->append(",\"message\":{\"role\":\"assistant\",\"content\":");
    AppendJsonString(out, part.text);
    out->append(",\"refusal\":null}");
  } else {
    out->append(",\"text\":");
    AppendJsonString(out, part.text);
  }
  AppendLogprobsAndFinish(out, part);
}

std::string ResponseWriter::Whole(const std::vector<ChoicePart>& choices, const UsageCounts& usage) const {
  std::string out = Head(options_.kind == CompletionKind::kChat ? "chat.completion" : "text_completion");
  for (size_t i = 0; i < choices.size(); ++i) {
    if (i > 0) out.push_back(',');
    AppendChoice(&out, choices[i]);
  }
  out.append("],\"usage\":");
  AppendUsageObject(&out, usage);
  out.push_back('}');
  return out;
}

void ResponseWriter::AppendChunkEnd(std::string* out) const {
  out->append(options_.include_usage ? "],\"usage\":null}\n\n" : "]}\n\n");
}

void ResponseWriter::AppendRole(std::string* out, uint32_t index) const {
  out->append(chunk_head_);
  AppendIndex(out, index);
  out->append(",\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,\"finish_reason\":null}");
  AppendChunkEnd(out);
}

void ResponseWriter::AppendPart(std::string* out, const ChoicePart& part) const {
  out->append(chunk_head_);
  AppendIndex(out, part.index);
  if (options_.kind == CompletionKind::kText) {
    out->append(",\"text\":");
    AppendJsonString(out, part.text);
  } else if (part.text.empty() && part.logprobs.empty()) {
    out->append(",\"delta\":{}");
  } else {
    out->append(",\"delta\":{\"content\":");
    AppendJsonString(out, part.text);
    out->push_back('}');
  }
  AppendLogprobsAndFinish(out, part);
  AppendChunkEnd(out);
}

void ResponseWriter::AppendUsage(std::string* out, const UsageCounts& usage) const {
  out->append(chunk_head_).append("],\"usage\":");
  AppendUsageObject(out, usage);
  out->append("}\n\n");
}

void ResponseWriter::AppendDone(std::string* out) { out->append("data: [DONE]\n\n"); }

void ResponseWriter::AppendError(std::string* out, const std::string& error_json) {
  out->append("data: ").append(error_json).append("\n\n");
}

std::string ModelJson(const ModelEntry& model) {
  std::string out = "{\"id\":";
  AppendJsonString(&out, model.name);
  out.append(",\"object\":\"model\",\"created\":");
  AppendJsonInt(&out, model.created_unix_seconds);
  out.append(",\"owned_by\":\"slm-mesh\",\"max_model_len\":");
  AppendJsonInt(&out, model.max_model_len);
  out.push_back('}');
  return out;
}

std::string ModelListJson(const std::vector<ModelEntry>& models) {
  std::string out = "{\"object\":\"list\",\"data\":[";
  for (size_t i = 0; i < models.size(); ++i) {
    if (i > 0) out.push_back(',');
    out.append(ModelJson(models[i]));
  }
  return out.append("]}");
}

}  // namespace slmmesh
