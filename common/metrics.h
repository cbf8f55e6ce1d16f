// prometheus-cpp behind a small face: a registry per process, labels fixed at creation, text rendered on demand.
#pragma once

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace slmmesh {

using MetricLabels = std::map<std::string, std::string>;

// Thread-safe. The returned references live as long as the registry. Asking twice for the same name and labels gives
// the same metric. A histogram measures seconds; its buckets fit milliseconds: 0.5 ms … 60 s.
class Metrics {
 public:
  Metrics();
  ~Metrics();
  prometheus::Counter& Counter(const std::string& name, const std::string& help, const MetricLabels& labels = {});
  prometheus::Gauge& Gauge(const std::string& name, const std::string& help, const MetricLabels& labels = {});
  prometheus::Histogram& Histogram(const std::string& name, const std::string& help, const MetricLabels& labels = {});
  prometheus::Histogram& Histogram(const std::string& name, const std::string& help, const MetricLabels& labels,
                                   const std::vector<double>& buckets);
  std::string RenderText() const;  // Prometheus text exposition format 0.0.4

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace slmmesh
