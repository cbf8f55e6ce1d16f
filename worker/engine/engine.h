// Rank 0's engine: step() is schedule → (guess →) run → sample → emit. Continuous batching with chunked prefill over a
// paged, prefix-shared KV cache. Single-threaded: one thread owns it and calls everything; it never blocks but in
// ModelRunner::Run. Time and model are injected, so a simulation can drive it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/clock.h"
#include "proto/block_hash.h"
#include "slmmesh/v1/worker.pb.h"
#include "worker/engine/model_runner.h"
#include "worker/engine/speculation.h"
#include "worker/engine/speculator.h"

namespace slmmesh {

struct EngineOptions {
  uint32_t num_blocks = 0;
  uint32_t block_size = 16;
  uint32_t max_model_len = 2048;
  uint32_t max_num_seqs = 64;             // running requests
  uint32_t max_num_batched_tokens = 512;  // tokens per step: bounds what a long prompt costs running streams
  // While requests decode, a step computes no more prompt tokens than take about so long, by the speed measured so far,
  // but at least a block of them. Zero: no such bound. How a prompt is cut never changes its logits.
  absl::Duration target_step = absl::ZeroDuration();
  uint32_t max_waiting = 1024;  // beyond: a submit is refused with RESOURCE_EXHAUSTED
  bool enable_prefix_caching = true;
  std::vector<uint32_t> eos_token_ids;
  SpeculationOptions speculation;
};

// Handles are the engine's own name of a request: unique while it lives (the server maps (stream, handle) to them).
struct EngineRequest {
  uint64_t id = 0;
  v1::Submit submit;
};

struct EngineOutput {
  uint64_t id = 0;
  v1::TokenOutput output;  // handle unset
};

// Seconds that one step took, by phase.
struct StepTimes {
  double schedule = 0, draft = 0, run = 0, sample = 0;
  uint32_t prefill_tokens = 0, decode_tokens = 0;  // decode: as many as were given out
};

struct EngineStats {  // totals since start
  uint64_t preemptions = 0;
  uint64_t prompt_tokens = 0, generated_tokens = 0;
  uint64_t prefix_lookup_tokens = 0, prefix_hit_tokens = 0;
  uint64_t finished_requests = 0, aborted_requests = 0;
  SpeculationStats speculation;
};

class Engine {
 public:
  // `draft`: the model that guesses, for the methods of speculation that have one.
  static absl::StatusOr<std::unique_ptr<Engine>> Create(const EngineOptions& options, ModelRunner* runner,
                                                        const Clock* clock, ModelRunner* draft = nullptr);
  virtual ~Engine() = default;

  // INVALID_ARGUMENT (names field, value, fix) for what can never run; RESOURCE_EXHAUSTED when the queue is full.
  virtual absl::Status Submit(EngineRequest request) = 0;
  // Frees the request's blocks at once; unknown ids are ignored (it may just have finished). No output follows.
  virtual void Cancel(uint64_t id) = 0;

  // Runs one step if there is work; appends what it gave. `*worked` tells whether there was any. On an error the epoch
  // is over: every request must be failed by the caller (AbortAll).
  virtual absl::Status Step(std::vector<EngineOutput>* outputs, bool* worked) = 0;
  // Ends every request with FINISH_REASON_ERROR and this status.
  virtual void AbortAll(const absl::Status& status, std::vector<EngineOutput>* outputs) = 0;

  virtual bool HasWork() const = 0;
  virtual v1::LoadReport Load() const = 0;
  virtual const StepTimes& last_step() const = 0;
  virtual const EngineStats& stats() const = 0;
  // Changes of the prefix cache since the last call. `AllBlockHashes`: the whole of it (for a router that connects).
  virtual v1::BlockEvents TakeBlockEvents() = 0;
  virtual std::vector<BlockHash> AllBlockHashes() const = 0;
  virtual uint32_t free_blocks() const = 0;  // unreferenced, cached ones included
};

}  // namespace slmmesh
