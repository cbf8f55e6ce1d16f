// Every number that a worker shows, by name. vllm:* where vLLM has the same quantity, so that its dashboards work.
#pragma once

#include "common/metrics.h"
#include "slmmesh/v1/head.pb.h"
#include "slmmesh/v1/worker.pb.h"
#include "worker/engine/engine.h"

namespace slmmesh {

// Thread-safe, but for the totals of an engine: those are one thread's.
class WorkerMetrics {
 public:
  // `speculation`: its method, a label.
  WorkerMetrics(Metrics* metrics, const std::string& model_name, const std::string& speculation = "none");

  // The state of the group as its last status to the head says it.
  void ShowStatus(const v1::WorkerStatus& status);
  // After a step that worked.
  void ShowStep(const StepTimes& times);
  void ShowLoad(const v1::LoadReport& load);
  // Adds what grew since the last call; `stats` of a new engine starts from zero.
  void AddStats(const EngineStats& stats);
  void StartEngine() { last_stats_ = {}; }

  prometheus::Counter& model_loads;
  prometheus::Gauge& weight_bytes;
  prometheus::Histogram& all_reduce_seconds;
  prometheus::Histogram& queue_seconds;
  prometheus::Gauge& sessions;
  prometheus::Counter& epochs_failed;

 private:
  prometheus::Gauge &phase_, &epoch_, &rank_, &load_fraction_;
  prometheus::Histogram &schedule_seconds_, &draft_seconds_, &run_seconds_, &sample_seconds_, &iteration_tokens_;
  prometheus::Gauge &running_, &waiting_, &kv_total_, &kv_used_, &kv_usage_, &gpu_cache_usage_;
  prometheus::Counter &prompt_tokens_, &generation_tokens_, &preemptions_, &prefix_queries_, &prefix_hits_, &finished_,
      &aborted_;
  prometheus::Counter &spec_drafts_, &spec_draft_tokens_, &spec_accepted_tokens_;  // vLLM's
  prometheus::Counter &verifications_, &guessed_, &accepted_, &emitted_;
  EngineStats last_stats_;
};

}  // namespace slmmesh
