// One epoch of a group on this worker: load, join the other ranks, agree on the KV cache, then lead or follow.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "slmmesh/v1/head.pb.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/collective/connect_group.h"
#include "worker/server/model_store.h"
#include "worker/server/seat_leader.h"
#include "worker/server/worker_config.h"
#include "worker/server/worker_metrics.h"

namespace slmmesh {

// What sessions need of the worker; all of it outlives them.
struct SessionContext {
  const WorkerConfig* config = nullptr;
  const Checkpoint* checkpoint = nullptr;
  ModelStore* models = nullptr;
  ExchangeListener* listener = nullptr;
  SeatLeader* leader = nullptr;
  WorkerMetrics* metrics = nullptr;
  std::function<void(const v1::WorkerStatus&)> report;  // to the head
  std::function<void(const v1::LoadReport&)> report_load;
};

// Run() belongs to one thread; Stop() and Drain() come from any.
class GroupSession {
 public:
  GroupSession(const SessionContext& context, v1::Assignment assignment)
      : context_(context), assignment_(std::move(assignment)) {}

  const v1::GroupSeat& seat() const { return assignment_.seat(); }
  // OK when the epoch ended in order.
  absl::Status Run();
  // Ends the epoch now, whatever it does; Run() then returns `reason`. Loading weights is finished first.
  void Stop(const absl::Status& reason);
  // Rank 0 finishes what it has and then ends the epoch in order; the other ranks leave when rank 0 does.
  void Drain();

 private:
  absl::Status RunEpoch();
  absl::StatusOr<ShardModels> LoadShard();
  absl::Status Join();
  absl::StatusOr<int64_t> AgreeOnKvBlocks(const ShardModels& models);
  absl::StatusOr<int64_t> OwnKvBlocks(const ShardModels& models) const;
  absl::Status ResetKvCaches(const ShardModels& models, int64_t num_blocks);
  // Whether the draft model has a KV cache of its own, of as many blocks as the target's.
  bool HasDraftCache() const { return context_.config->speculative_method == SpeculationMethod::kDraft; }
  absl::Status Lead(const ShardModels& models, int64_t num_blocks);
  EngineOptions DescribeEngine(const ShardModels& models, int64_t num_blocks) const;
  absl::Status Follow(const ShardModels& models);
  absl::Status SetLoop(std::shared_ptr<EngineLoop> loop);
  absl::Status CheckStopped() const;
  int RanksOnThisHost() const;
  void Report(v1::WorkerPhase phase, double load_fraction) const;

  const SessionContext& context_;
  const v1::Assignment assignment_;
  std::unique_ptr<Communicator> communicator_;  // set once by Run()'s thread, under the mutex

  mutable absl::Mutex mutex_;
  absl::Status stopped_ ABSL_GUARDED_BY(mutex_);  // OK: not stopped
  bool is_draining_ ABSL_GUARDED_BY(mutex_) = false;
  std::shared_ptr<EngineLoop> loop_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace slmmesh
