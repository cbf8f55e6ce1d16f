#include "common/metrics.h"

#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

namespace slmmesh {
namespace {

const std::vector<double>& SecondsBuckets() {
  static const std::vector<double> buckets = {0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2,
                                              0.5,    1,     2,     5,     10,   20,   30,   60};
  return buckets;
}

}  // namespace

// A second Register() with the same name merges into the first, and Add() with equal labels gives the same metric.
struct Metrics::State {
  prometheus::Registry registry{prometheus::Registry::InsertBehavior::Merge};
};

Metrics::Metrics() : state_(std::make_unique<State>()) {}
Metrics::~Metrics() = default;

prometheus::Counter& Metrics::Counter(const std::string& name, const std::string& help, const MetricLabels& labels) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(state_->registry).Add(labels);
}

prometheus::Gauge& Metrics::Gauge(const std::string& name, const std::string& help, const MetricLabels& labels) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(state_->registry).Add(labels);
}

prometheus::Histogram& Metrics::Histogram(const std::string& name, const std::string& help,
                                          const MetricLabels& labels) {
  return Histogram(name, help, labels, SecondsBuckets());
}

prometheus::Histogram& Metrics::Histogram(const std::string& name, const std::string& help, const MetricLabels& labels,
                                          const std::vector<double>& buckets) {
  return prometheus::BuildHistogram().Name(name).Help(help).Register(state_->registry).Add(labels, buckets);
}

std::string Metrics::RenderText() const { return prometheus::TextSerializer().Serialize(state_->registry.Collect()); }

}  // namespace slmmesh
