// The router's metrics: slmmesh_router_*, and vllm:* where vLLM has the same quantity. Thread-safe.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "common/metrics.h"
#include "slmmesh/v1/sampling.pb.h"

namespace slmmesh {

// Of one served model (label model_name).
struct ModelMetrics {
  ModelMetrics(Metrics* metrics, const std::string& model_name);

  prometheus::Histogram& time_to_first_token;
  prometheus::Histogram& inter_token_latency;
  prometheus::Histogram& time_per_output_token;  // of a whole request: (end - first token) / (tokens - 1)
  prometheus::Histogram& end_to_end;
  prometheus::Histogram& queue_time;
  prometheus::Counter& prompt_tokens;
  prometheus::Counter& generation_tokens;
  prometheus::Counter& cached_tokens;
  prometheus::Counter& finished_stop;
  prometheus::Counter& finished_length;
  prometheus::Counter& finished_abort;
};

class RouterMetrics {
 public:
  explicit RouterMetrics(Metrics* metrics);

  // Lives as long as this.
  ModelMetrics* ForModel(const std::string& model_name);
  void CountRequest(int http_status);

  prometheus::Gauge& connections;
  prometheus::Gauge& active_requests;
  prometheus::Gauge& queued_requests;
  prometheus::Gauge& routable_groups;
  prometheus::Gauge& head_connected;
  prometheus::Counter& connections_refused;
  prometheus::Histogram& prepare_time;  // parse, template, tokenize, choose

 private:
  Metrics* const metrics_;
  std::mutex mutex_;
  std::map<std::string, std::unique_ptr<ModelMetrics>> models_;
  std::map<int, prometheus::Counter*> requests_;  // by status
};

}  // namespace slmmesh
