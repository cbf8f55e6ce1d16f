#include "router/metrics.h"

namespace slmmesh {
namespace {

const std::vector<double>& MicrosecondBuckets() {
  static const auto* buckets = new std::vector<double>{25e-6,  50e-6, 100e-6, 200e-6, 300e-6, 500e-6, 1e-3,
                                                       2.5e-3, 5e-3,  10e-3,  25e-3,  50e-3,  100e-3, 1.0};
  return *buckets;
}

}  // namespace

ModelMetrics::ModelMetrics(Metrics* metrics, const std::string& model_name)
    : time_to_first_token(metrics->Histogram("vllm:time_to_first_token_seconds",
                                             "From the request's arrival to its first token.",
                                             {{"model_name", model_name}})),
      inter_token_latency(metrics->Histogram("vllm:inter_token_latency_seconds", "Between two tokens of one choice.",
                                             {{"model_name", model_name}})),
      time_per_output_token(metrics->Histogram("vllm:time_per_output_token_seconds",
                                               "Mean time per token after the first, of one choice.",
                                               {{"model_name", model_name}})),
      end_to_end(metrics->Histogram("vllm:e2e_request_latency_seconds", "From arrival to the last token.",
                                    {{"model_name", model_name}})),
      queue_time(metrics->Histogram("vllm:request_queue_time_seconds", "From submit to the first scheduled chunk.",
                                    {{"model_name", model_name}})),
      prompt_tokens(metrics->Counter("vllm:prompt_tokens_total", "Prompt tokens.", {{"model_name", model_name}})),
      generation_tokens(
          metrics->Counter("vllm:generation_tokens_total", "Generated tokens.", {{"model_name", model_name}})),
      cached_tokens(metrics->Counter("slmmesh_router_cached_prompt_tokens_total",
                                     "Prompt tokens found in a prefix cache.", {{"model_name", model_name}})),
      finished_stop(metrics->Counter("vllm:request_success_total", "Finished choices by reason.",
                                     {{"model_name", model_name}, {"finished_reason", "stop"}})),
      finished_length(metrics->Counter("vllm:request_success_total", "Finished choices by reason.",
                                       {{"model_name", model_name}, {"finished_reason", "length"}})),
      finished_abort(metrics->Counter("vllm:request_success_total", "Finished choices by reason.",
                                      {{"model_name", model_name}, {"finished_reason", "abort"}})) {}

RouterMetrics::RouterMetrics(Metrics* metrics)
    : connections(metrics->Gauge("slmmesh_router_connections", "Open client connections.")),
      active_requests(metrics->Gauge("slmmesh_router_active_requests", "Choices sent to workers and not finished.")),
      queued_requests(metrics->Gauge("slmmesh_router_queued_requests", "Choices sent that have no token yet.")),
      routable_groups(metrics->Gauge("slmmesh_router_routable_groups", "Groups that requests can be sent to now.")),
      head_connected(metrics->Gauge("slmmesh_router_head_connected", "1 while the head's stream is up.")),
      connections_refused(metrics->Counter("slmmesh_router_connections_refused_total", "Over --max-connections.")),
      prepare_time(metrics->Histogram("slmmesh_router_prepare_seconds",
                                      "From a request's last byte to its submit: parse, template, tokenize, choose.",
                                      {}, MicrosecondBuckets())),
      metrics_(metrics) {}

ModelMetrics* RouterMetrics::ForModel(const std::string& model_name) {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::unique_ptr<ModelMetrics>& model = models_[model_name];
  if (model == nullptr) model = std::make_unique<ModelMetrics>(metrics_, model_name);
  return model.get();
}

void RouterMetrics::CountRequest(int http_status) {
  const std::lock_guard<std::mutex> lock(mutex_);
  prometheus::Counter*& counter = requests_[http_status];
  if (counter == nullptr) {
    counter = &metrics_->Counter("slmmesh_router_requests_total", "Answered requests by status.",
                                 {{"code", std::to_string(http_status)}});
  }
  counter->Increment();
}

}  // namespace slmmesh
