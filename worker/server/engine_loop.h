// Rank 0's loop: takes what routers ask, steps the engine, and hands each router what the step gave it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <unordered_map>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "worker/engine/engine.h"
#include "worker/server/mailbox.h"
#include "worker/server/router_stream.h"
#include "worker/server/worker_metrics.h"

namespace slmmesh {

// Run() belongs to one thread, which is the engine's; the rest is thread-safe.
class EngineLoop {
 public:
  struct Options {
    absl::Duration idle_interval = absl::Seconds(1);  // a keepalive and a load report at least this often
    // After Drain(), how long routers may take to hear of it: until then they are waited for, also when nothing runs.
    absl::Duration drain_linger = absl::Milliseconds(500);
    std::function<absl::Status()> keep_alive;  // called while idle; an error ends the epoch
    std::function<void(const v1::LoadReport&)> on_load;
  };
  EngineLoop(std::unique_ptr<Engine> engine, Options options, WorkerMetrics* metrics)
      : engine_(std::move(engine)), options_(std::move(options)), metrics_(metrics) {}

  // False when the loop is over or cannot take more now.
  bool Post(Command command) { return mailbox_.Post(std::move(command)); }

  // Until Stop() or the end of the epoch, whose reason it returns. All requests have then been answered with
  // FINISH_REASON_ERROR, UNAVAILABLE, and all streams are closed.
  absl::Status Run();
  // Ends Run(), which then returns `reason`.
  void Stop(const absl::Status& reason) { mailbox_.Close(reason); }
  // Run() ends with OK when nothing runs. Requests that come meanwhile are taken: a router that has not heard of it yet
  // sends some, and one that knows no other group.
  void Drain() { Post({Command::Kind::kDrain}); }

 private:
  // A router's stream: its requests by handle, and what the current step gives it.
  struct Session {
    std::shared_ptr<RouterStream> stream;
    absl::flat_hash_map<uint64_t, uint64_t> ids;  // handle to engine id
    v1::SessionResponse update;
    v1::LoadReport last_load;
    absl::Time last_push = absl::InfinitePast();
  };
  struct Request {
    RouterStream* stream;
    uint64_t handle;
    bool is_started = false;  // its first output was seen
  };

  absl::Status RunUntilEnd();
  absl::Time NextWake() const;
  bool IsDrained(absl::Time now) const;
  void Apply(Command command);
  void Attach(std::shared_ptr<RouterStream> stream);
  void Submit(Session& session, v1::Submit submit);
  void Cancel(Session& session, uint64_t handle);
  void Detach(RouterStream* stream);
  void Deliver(std::vector<EngineOutput> outputs);
  void PushUpdates();
  void PushTo(Session& session, const v1::BlockEvents& events, const v1::LoadReport& load, absl::Time now);
  void FailAll(const absl::Status& reason);

  const std::unique_ptr<Engine> engine_;
  const Options options_;
  WorkerMetrics* const metrics_;
  Mailbox mailbox_;

  // Run()'s thread only.
  absl::Time draining_since_ = absl::InfiniteFuture();
  std::unordered_map<RouterStream*, Session> sessions_;
  absl::flat_hash_map<uint64_t, Request> requests_;  // by engine id
  uint64_t last_id_ = 0;
  absl::Time last_alive_ = absl::InfinitePast();
};

}  // namespace slmmesh
