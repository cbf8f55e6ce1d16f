#include "worker/server/worker_metrics.h"

namespace slmmesh {
namespace {

const std::vector<double>& AllReduceBuckets() {
  static const std::vector<double> buckets = {1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4,
                                              1e-3, 2e-3, 5e-3, 1e-2, 5e-2, 0.2,  1,    10};
  return buckets;
}

const std::vector<double>& PhaseBuckets() {
  static const std::vector<double> buckets = {1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2,
                                              2e-2, 5e-2, 0.1,  0.2,  0.5,  1,    2,    5,    10};
  return buckets;
}

const std::vector<double>& TokenBuckets() {
  static const std::vector<double> buckets = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192};
  return buckets;
}

prometheus::Histogram& PhaseTime(Metrics& metrics, const std::string& phase) {
  return metrics.Histogram("slmmesh_worker_step_seconds", "Time of an engine step, by phase", {{"phase", phase}},
                           PhaseBuckets());
}

prometheus::Counter& SpeculationTokens(Metrics& metrics, const std::string& method, const std::string& kind) {
  return metrics.Counter("slmmesh_worker_speculation_tokens_total",
                         "Tokens of steps that verified guesses: drafted, accepted of them, and emitted in all",
                         {{"method", method}, {"kind", kind}});
}

}  // namespace

WorkerMetrics::WorkerMetrics(Metrics* metrics, const std::string& model_name, const std::string& speculation)
    : model_loads(metrics->Counter("slmmesh_worker_model_loads_total", "Times that weights were read into memory")),
      weight_bytes(metrics->Gauge("slmmesh_worker_weight_bytes", "Bytes of weights in memory")),
      all_reduce_seconds(metrics->Histogram("slmmesh_worker_all_reduce_seconds",
                                            "Time of one all-reduce, waits included", {}, AllReduceBuckets())),
      queue_seconds(metrics->Histogram("vllm:request_queue_time_seconds", "From submit to the first scheduled chunk",
                                       {{"model_name", model_name}})),
      sessions(metrics->Gauge("slmmesh_worker_sessions", "Router streams that are open")),
      epochs_failed(metrics->Counter("slmmesh_worker_epochs_failed_total", "Group epochs that broke on this worker")),
      phase_(metrics->Gauge("slmmesh_worker_phase", "1 idle, 2 loading, 3 joining, 4 serving, 5 failed")),
      epoch_(metrics->Gauge("slmmesh_worker_group_epoch", "Epoch of the group whose seat this worker holds")),
      rank_(metrics->Gauge("slmmesh_worker_group_rank", "Rank of the seat that this worker holds")),
      load_fraction_(metrics->Gauge("slmmesh_worker_load_fraction", "Share of the weights that is read, 0 to 1")),
      schedule_seconds_(PhaseTime(*metrics, "schedule")),
      draft_seconds_(PhaseTime(*metrics, "draft")),
      run_seconds_(PhaseTime(*metrics, "run")),
      sample_seconds_(PhaseTime(*metrics, "sample")),
      iteration_tokens_(metrics->Histogram("vllm:iteration_tokens_total", "Tokens of one engine step",
                                           {{"model_name", model_name}}, TokenBuckets())),
      running_(metrics->Gauge("vllm:num_requests_running", "Requests in the batch", {{"model_name", model_name}})),
      waiting_(metrics->Gauge("vllm:num_requests_waiting", "Requests not yet scheduled", {{"model_name", model_name}})),
      kv_total_(metrics->Gauge("slmmesh_worker_kv_blocks", "Blocks of the KV cache")),
      kv_used_(metrics->Gauge("slmmesh_worker_kv_blocks_used", "Blocks that a running request refers to")),
      kv_usage_(metrics->Gauge("vllm:kv_cache_usage_perc", "Used share of the KV cache, 1 is all",
                               {{"model_name", model_name}})),
      gpu_cache_usage_(metrics->Gauge("vllm:gpu_cache_usage_perc", "Used share of the KV cache, 1 is all",
                                      {{"model_name", model_name}})),
      prompt_tokens_(metrics->Counter("vllm:prompt_tokens_total", "Prompt tokens", {{"model_name", model_name}})),
      generation_tokens_(
          metrics->Counter("vllm:generation_tokens_total", "Generated tokens", {{"model_name", model_name}})),
      preemptions_(metrics->Counter("vllm:num_preemptions_total", "Requests sent back to the queue for want of blocks",
                                    {{"model_name", model_name}})),
      prefix_queries_(metrics->Counter("vllm:prefix_cache_queries_total", "Tokens looked up in the prefix cache",
                                       {{"model_name", model_name}})),
      prefix_hits_(metrics->Counter("vllm:prefix_cache_hits_total", "Tokens found in the prefix cache",
                                    {{"model_name", model_name}})),
      finished_(metrics->Counter("slmmesh_worker_requests_total", "Requests that ended", {{"end", "finished"}})),
      aborted_(metrics->Counter("slmmesh_worker_requests_total", "Requests that ended", {{"end", "aborted"}})),
      spec_drafts_(metrics->Counter("vllm:spec_decode_num_drafts_total", "Times that guesses were verified",
                                    {{"model_name", model_name}})),
      spec_draft_tokens_(metrics->Counter("vllm:spec_decode_num_draft_tokens_total", "Guesses that were verified",
                                          {{"model_name", model_name}})),
      spec_accepted_tokens_(metrics->Counter("vllm:spec_decode_num_accepted_tokens_total", "Guesses that were right",
                                             {{"model_name", model_name}})),
      verifications_(metrics->Counter("slmmesh_worker_speculation_verifications_total",
                                      "Times that a request's guesses were verified", {{"method", speculation}})),
      guessed_(SpeculationTokens(*metrics, speculation, "drafted")),
      accepted_(SpeculationTokens(*metrics, speculation, "accepted")),
      emitted_(SpeculationTokens(*metrics, speculation, "emitted")) {}

void WorkerMetrics::ShowStatus(const v1::WorkerStatus& status) {
  phase_.Set(status.phase());
  epoch_.Set(static_cast<double>(status.seat().epoch()));
  rank_.Set(status.seat().rank());
  load_fraction_.Set(status.load_fraction());
}

void WorkerMetrics::ShowStep(const StepTimes& times) {
  schedule_seconds_.Observe(times.schedule);
  if (times.draft > 0) draft_seconds_.Observe(times.draft);
  run_seconds_.Observe(times.run);
  sample_seconds_.Observe(times.sample);
  iteration_tokens_.Observe(times.prefill_tokens + times.decode_tokens);
}

void WorkerMetrics::ShowLoad(const v1::LoadReport& load) {
  running_.Set(load.running());
  waiting_.Set(load.waiting());
  kv_total_.Set(load.kv_blocks_total());
  kv_used_.Set(load.kv_blocks_used());
  const double usage = load.kv_blocks_total() == 0 ? 0 : double{1} * load.kv_blocks_used() / load.kv_blocks_total();
  kv_usage_.Set(usage);
  gpu_cache_usage_.Set(usage);
}

void WorkerMetrics::AddStats(const EngineStats& stats) {
  const auto add = [](prometheus::Counter& counter, uint64_t now, uint64_t before) {
    if (now > before) counter.Increment(static_cast<double>(now - before));
  };
  add(prompt_tokens_, stats.prompt_tokens, last_stats_.prompt_tokens);
  add(generation_tokens_, stats.generated_tokens, last_stats_.generated_tokens);
  add(preemptions_, stats.preemptions, last_stats_.preemptions);
  add(prefix_queries_, stats.prefix_lookup_tokens, last_stats_.prefix_lookup_tokens);
  add(prefix_hits_, stats.prefix_hit_tokens, last_stats_.prefix_hit_tokens);
  add(finished_, stats.finished_requests, last_stats_.finished_requests);
  add(aborted_, stats.aborted_requests, last_stats_.aborted_requests);
  const SpeculationStats &now = stats.speculation, &before = last_stats_.speculation;
  add(spec_drafts_, now.verifications, before.verifications);
  add(spec_draft_tokens_, now.guessed, before.guessed);
  add(spec_accepted_tokens_, now.accepted, before.accepted);
  add(verifications_, now.verifications, before.verifications);
  add(guessed_, now.guessed, before.guessed);
  add(accepted_, now.accepted, before.accepted);
  add(emitted_, now.emitted, before.emitted);
  last_stats_ = stats;
}

}  // namespace slmmesh
