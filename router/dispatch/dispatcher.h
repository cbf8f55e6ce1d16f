// Which groups there are, and the way of a choice to one of them: table from the head, a session per group, models,
// choice of a group, admission. It outlives every request; requests live on loops.
#pragma once

#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/tls.h"
#include "proto/block_hash.h"
#include "router/dispatch/admission.h"
#include "router/dispatch/loop.h"
#include "router/dispatch/model_fetcher.h"
#include "router/dispatch/served_model.h"
#include "router/dispatch/worker_session.h"
#include "slmmesh/v1/head.pb.h"

namespace slmmesh {

class HeadWatcher;
struct DispatchGroup;

// A choice on its way: kept by the request from Submit() to Finish().
struct DispatchTicket {
  std::shared_ptr<DispatchGroup> group;
  std::shared_ptr<WorkerSession> session;
  uint64_t handle = 0;
  bool queued = true;  // no output yet
};

// Thread-safe. One mutex: held for microseconds, once per choice and per step of a group.
class Dispatcher : private WorkerSession::Listener {
 public:
  struct Options {
    std::string router_id;
    std::string cluster;
    std::string head_address;
    TlsFiles tls;
    QueueLimits queue;
    absl::Duration wait_for_group = absl::Seconds(5);
    std::string served_model_name;  // of a model that is served here even while no group is; empty: none is known
  };
  Dispatcher(Options options, std::vector<Loop*> loops, RouterMetrics* metrics);
  ~Dispatcher() override;  // after Stop()
  // What the reports to the head say of this router.
  void SetEndpoints(const std::string& http_endpoint, const std::string& grpc_endpoint);
  void Tick();  // every Loop::kTickMs, on one loop
  // After the loops have stopped, and with them the sessions: ends what runs on other threads.
  void Stop();

  // The model of that name, if a group that serves it is routable. "": the only one. UNAVAILABLE: there is none now,
  // though one may come (WaitForModel); NOT_FOUND: nobody serves it.
  absl::StatusOr<std::shared_ptr<const ServedModel>> FindModel(const std::string& name);
  // Every model of the table whose workers answered, by name.
  std::vector<std::shared_ptr<const ServedModel>> Models();
  // Whether a request can be sent on; or, where the model's name is known, kept until it can, because no group of the
  // cluster is ready at all: no other router could do better, and waiting requests are what wakes a cluster without
  // groups.
  bool IsReady();

  // As FindModel, but where it says UNAVAILABLE waits for a group, until `deadline` and wait_for_group at most. Where
  // all groups drain it waits a moment for another one, then takes what there is: nothing fails that could be served.
  // `done` is called on `loop`, at once where nothing is to wait for; `gone` tells that nobody wants the answer any
  // more.
  using OnModel = std::function<void(absl::StatusOr<std::shared_ptr<const ServedModel>>)>;
  void WaitForModel(Loop* loop, const std::string& name, absl::Time deadline, std::function<bool()> gone, OnModel done);

  // Chooses a group and sends. `submit`'s handle is set here; outputs come to `receiver` on `loop` (the caller's
  // thread). On success the caller owes Finish().
  absl::StatusOr<DispatchTicket> Submit(Loop* loop, const ServedModel& model, std::span<const BlockHash> prompt_hashes,
                                        v1::Submit submit, absl::Time deadline, OutputReceiver* receiver);
  void FirstOutput(DispatchTicket* ticket);
  enum class End { kFinished, kCancelled };  // kCancelled: the worker is told
  void Finish(Loop* loop, DispatchTicket* ticket, End end, absl::Duration service_time);

 private:
  using GroupPointer = std::shared_ptr<DispatchGroup>;
  struct ModelState {
    std::shared_ptr<const ServedModel> model;  // null: not fetched yet
    bool fetching = false;
    absl::Time retry_at = absl::InfinitePast();
  };

  enum class Groups { kAll, kNotDraining };
  struct ModelWait {
    std::string name;
    absl::Time deadline;
    std::function<bool()> gone;
    OnModel done;
  };
  absl::StatusOr<std::shared_ptr<const ServedModel>> FindModelIn(Groups groups, const std::string& name);
  void WaitOn(Loop* loop, std::shared_ptr<const ModelWait> wait);

  void OnMessage(WorkerSession* session, std::shared_ptr<const v1::SessionResponse> message) override;
  void OnClosed(WorkerSession* session, const absl::Status& status) override;
  void OnTable(const v1::ClusterTable& table);
  void OnModelFetched(const std::string& model_key, ModelFetcher::Result result);

  // All with the mutex held.
  GroupPointer* FindGroup(const WorkerSession* session);
  bool IsRoutable(const DispatchGroup& group) const;
  void OpenSession(const GroupPointer& group, absl::Time now);
  void FetchModelOf(const DispatchGroup& group, absl::Time now);
  bool MayComeBack(const ModelState& state) const;
  void ForgetUnlisted(absl::Time now);
  void RetireGroup(const GroupPointer& group);
  GroupPointer Choose(const std::string& model_key, std::span<const BlockHash> prompt_hashes, QueueLengths* lengths);

  void AnnounceChange();  // requests that wait try again
  void ReportToHead(absl::Time now);
  void PostToLoops(uint64_t loop_mask, const std::function<void(Loop*)>& task);

  const Options options_;
  const std::vector<Loop*> loops_;
  RouterMetrics* const metrics_;

  std::mutex mutex_;
  absl::flat_hash_map<const WorkerSession*, std::shared_ptr<WorkerSession>> sessions_;  // until OnClosed
  std::string head_id_;
  absl::flat_hash_map<std::string, GroupPointer> groups_;  // by group id
  absl::flat_hash_map<std::string, ModelState> models_;    // by model key
  uint64_t next_session_ = 0;                              // the loops take turns
  uint64_t turn_ = 0;
  uint32_t waiting_for_group_ = 0;
  uint32_t active_ = 0, queued_ = 0;
  std::string http_endpoint_, grpc_endpoint_;
  absl::Time next_report_ = absl::InfinitePast();

  std::unique_ptr<ModelFetcher> fetcher_;  // these two call back until they are destroyed: first, in Stop()
  std::unique_ptr<HeadWatcher> head_;
};

}  // namespace slmmesh
