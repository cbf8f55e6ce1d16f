#include "router/api/api.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/log.h"
#include "router/api/request_id.h"
#include "router/openai/json_text.h"

namespace slmmesh {
namespace {

constexpr absl::string_view kModelPrefix = "/v1/models/";

HttpResponse ErrorResponse(const ApiError& error) {
  HttpResponse response;
  response.status = error.http_status;
  response.body = ErrorJson(error);
  if (error.retry_after_seconds > 0) {
    response.headers.emplace_back("Retry-After", std::to_string(error.retry_after_seconds));
  }
  return response;
}

ApiError HttpError(int status, std::string message) {
  ApiError error;
  error.http_status = status;
  error.type = status == 503 ? "service_unavailable_error" : "invalid_request_error";
  error.message = std::move(message);
  if (status == 503) error.retry_after_seconds = 1;
  return error;
}

enum class Access { kOpen, kWithKey };
struct Route {
  const char* method;
  const char* path;
  Access access;
  void (*handle)(std::shared_ptr<ApiCall>);
};

void HandleHealth(std::shared_ptr<ApiCall> call) { call->Respond({200, "text/plain", {}, "ok\n"}); }

void HandleReady(std::shared_ptr<ApiCall> call) {
  const ApiContext& context = call->context();
  const bool is_ready = !context.draining && context.dispatcher->IsReady();
  call->Respond({is_ready ? 200 : 503, "text/plain", {}, is_ready ? "ready\n" : "no group is routable\n"});
}

void HandleMetrics(std::shared_ptr<ApiCall> call) {
  if (!call->context().show_metrics) return call->RespondError(absl::NotFoundError("no such path"));
  call->Respond({200, "text/plain; version=0.0.4", {}, call->context().metrics->RenderText()});
}

constexpr Route kRoutes[] = {
    {"POST", "/v1/chat/completions", Access::kWithKey, HandleChatCompletion},
    {"POST", "/v1/completions", Access::kWithKey, HandleCompletion},
    {"GET", "/v1/models", Access::kWithKey, HandleModels},
    {"POST", "/tokenize", Access::kWithKey, HandleTokenize},
    {"POST", "/detokenize", Access::kWithKey, HandleDetokenize},
    {"GET", "/healthz", Access::kOpen, HandleHealth},
    {"GET", "/readyz", Access::kOpen, HandleReady},
    {"GET", "/metrics", Access::kOpen, HandleMetrics},
};

bool IsJson(absl::string_view content_type) {
  const absl::string_view type = content_type.substr(0, content_type.find(';'));
  return content_type.empty() || absl::EqualsIgnoreCase(absl::StripAsciiWhitespace(type), "application/json");
}

bool MethodFits(const std::string& method, const char* wanted) {
  return method == wanted || (method == "HEAD" && absl::string_view(wanted) == "GET");
}

void RefuseMethod(ApiCall* call, const char* wanted) {
  HttpResponse response = ErrorResponse(HttpError(405, absl::StrCat("this path takes ", wanted)));
  response.headers.emplace_back("Allow", wanted);
  call->Respond(std::move(response));
}

void Dispatch(const std::shared_ptr<ApiCall>& call) {
  const HttpRequest& request = call->request();
  const auto* route = std::find_if(std::begin(kRoutes), std::end(kRoutes),
                                   [&](const Route& candidate) { return request.path == candidate.path; });
  const bool is_model = absl::StartsWith(request.path, kModelPrefix);
  if (route == std::end(kRoutes) && !is_model) return call->RespondError(absl::NotFoundError("no such path"));
  const char* wanted = is_model ? "GET" : route->method;
  if (!MethodFits(request.method, wanted)) return RefuseMethod(call.get(), wanted);
  if (is_model || route->access == Access::kWithKey) {
    if (const absl::Status status = call->Authenticate(); !status.ok()) return call->RespondError(status);
  }
  if (is_model) return HandleModel(call, request.path.substr(kModelPrefix.size()));
  if (request.method == "POST" && !IsJson(request.content_type)) {
    return call->Respond(ErrorResponse(HttpError(415, "the body must be JSON; send Content-Type: application/json")));
  }
  route->handle(call);
}

}  // namespace

ApiCall::ApiCall(const ApiContext* context, HttpRequest request, std::shared_ptr<HttpExchange> exchange)
    : context_(context),
      request_(std::move(request)),
      exchange_(std::move(exchange)),
      request_id_(RequestIdOf(request_.request_id)),
      deadline_(request_.arrival + context_->request_timeout) {}

absl::Status ApiCall::Authenticate() {
  absl::StatusOr<std::string> tenant = context_->api_keys->TenantOf(request_.authorization);
  if (!tenant.ok()) return tenant.status();
  tenant_ = *std::move(tenant);
  if (request_.timeout_ms.empty()) return absl::OkStatus();
  uint32_t timeout_ms = 0;
  if (!absl::SimpleAtoi(request_.timeout_ms, &timeout_ms) || timeout_ms == 0) {
    return RefuseField("X-Request-Timeout-Ms", "must be a positive integer, in milliseconds");
  }
  deadline_ = std::min(deadline_, request_.arrival + absl::Milliseconds(timeout_ms));
  return absl::OkStatus();
}

ApiCall::~ApiCall() {
  context_->router_metrics->CountRequest(status_);
  const bool is_probe = request_.path == "/healthz" || request_.path == "/readyz" || request_.path == "/metrics";
  const LogLevel level = is_probe ? LogLevel::kDebug : LogLevel::kInfo;
  if (!IsLogged(level)) return;
  const auto milliseconds = [this](absl::Time time) {
    return time == absl::InfiniteFuture() ? -1.0 : absl::ToDoubleMilliseconds(time - request_.arrival);
  };
  Log(level, "router.request",
      {{"request_id", request_id_},
       {"tenant", tenant_},
       {"method", CutText(request_.method, 16)},
       {"path", CutText(request_.path, 64)},
       {"status", status_},
       {"prompt_tokens", prompt_tokens},
       {"completion_tokens", completion_tokens},
       {"cached_tokens", cached_tokens},
       {"first_token_ms", milliseconds(first_token)},
       {"total_ms", milliseconds(absl::Now())}});
}

void ApiCall::Respond(HttpResponse response) {
  if (exchange_->gone()) return;
  status_ = response.status;
  response.headers.emplace_back("X-Request-Id", request_id_);
  exchange_->Respond(std::move(response));
}

void ApiCall::RespondJson(std::string body) { Respond({200, "application/json", {}, std::move(body)}); }

void ApiCall::RespondError(const absl::Status& status) { Respond(ErrorResponse(ToApiError(status))); }

void ApiCall::StartEvents() {
  exchange_->StartStream(
      {200, "text/event-stream; charset=utf-8", {{"Cache-Control", "no-cache"}, {"X-Request-Id", request_id_}}, ""});
}

void ApiCall::EndEvents(const absl::Status& status) {
  if (exchange_->gone()) return;
  status_ = status.ok() ? 200 : ToApiError(status).http_status;
  exchange_->End();
}

void Api::Handle(HttpRequest request, std::shared_ptr<HttpExchange> exchange) {
  Dispatch(std::make_shared<ApiCall>(context_, std::move(request), std::move(exchange)));
}

HttpResponse Api::ProtocolError(int status, const std::string& message) {
  context_->router_metrics->CountRequest(status);
  LogInfo("router.refused", {{"status", status}, {"reason", message}});
  return ErrorResponse(HttpError(status, message));
}

}  // namespace slmmesh
