// The HTTP API: routes, authentication, request ids, the access log. Each route's work stands in a file of its own.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "router/api/prompt_pool.h"
#include "router/dispatch/api_keys.h"
#include "router/dispatch/dispatcher.h"
#include "router/http/http_message.h"
#include "router/metrics.h"
#include "router/openai/api_error.h"
#include "router/openai/sampling_options.h"

namespace slmmesh {

// Lives as long as the router; read by all loops.
struct ApiContext {
  Dispatcher* dispatcher = nullptr;
  PromptPool* prompt_pool = nullptr;
  ApiKeysFile* api_keys = nullptr;
  RouterMetrics* router_metrics = nullptr;
  const Metrics* metrics = nullptr;
  RequestLimits limits;
  SamplingDefaults defaults;
  absl::Duration request_timeout = absl::Seconds(600);
  std::atomic<bool> show_metrics{false};  // GET /metrics on the clients' port
  std::atomic<bool> draining{false};      // /readyz says no
};

// One HTTP request that was let in: what every route needs. One loop's thread.
class ApiCall {
 public:
  ApiCall(const ApiContext* context, HttpRequest request, std::shared_ptr<HttpExchange> exchange);
  ~ApiCall();  // writes the access log: 499 if nothing was answered

  // Fills tenant and deadline, or says why the caller may not.
  absl::Status Authenticate();
  const HttpRequest& request() const { return request_; }
  const ApiContext& context() const { return *context_; }
  HttpExchange& exchange() { return *exchange_; }
  const std::string& request_id() const { return request_id_; }
  const std::string& tenant() const { return tenant_; }
  absl::Time deadline() const { return deadline_; }

  void Respond(HttpResponse response);
  void RespondJson(std::string body);
  void RespondError(const absl::Status& status);
  // A stream of server-sent events; the status in the log is what it ends with.
  void StartEvents();
  void EndEvents(const absl::Status& status);

  // For the log.
  uint64_t prompt_tokens = 0, completion_tokens = 0, cached_tokens = 0;
  absl::Time first_token = absl::InfiniteFuture();

 private:
  const ApiContext* const context_;
  HttpRequest request_;
  const std::shared_ptr<HttpExchange> exchange_;
  std::string request_id_;
  std::string tenant_;
  absl::Time deadline_;
  int status_ = 499;
};

class Api final : public HttpHandler {
 public:
  explicit Api(const ApiContext* context) : context_(context) {}
  void Handle(HttpRequest request, std::shared_ptr<HttpExchange> exchange) override;
  HttpResponse ProtocolError(int status, const std::string& message) override;

 private:
  const ApiContext* const context_;
};

// The routes' work. Each answers on `call` now or later.
void HandleChatCompletion(std::shared_ptr<ApiCall> call);
void HandleCompletion(std::shared_ptr<ApiCall> call);
void HandleModels(std::shared_ptr<ApiCall> call);
void HandleModel(std::shared_ptr<ApiCall> call, const std::string& name);
void HandleTokenize(std::shared_ptr<ApiCall> call);
void HandleDetokenize(std::shared_ptr<ApiCall> call);

}  // namespace slmmesh
