// The half of the dispatcher that follows the cluster: tables, sessions, models, reports.
#include <grpcpp/channel.h>

#include <algorithm>

#include "absl/container/flat_hash_set.h"
#include "common/log.h"
#include "router/dispatch/dispatch_group.h"
#include "router/dispatch/dispatcher.h"
#include "router/dispatch/head_watcher.h"

namespace slmmesh {
namespace {

// A head that restarted knows nothing until its workers have dialled in: a group that it does not list yet goes on as
// long as its session lives, and for this long at most.
constexpr absl::Duration kUnlistedGrace = absl::Seconds(30);
constexpr absl::Duration kModelRetry = absl::Seconds(1);
constexpr absl::Duration kSessionRetry = absl::Milliseconds(500);
constexpr absl::Duration kReportInterval = absl::Seconds(1);
constexpr char kSessionMethod[] = "/slmmesh.v1.Worker/Session";

}  // namespace

bool Dispatcher::IsRoutable(const DispatchGroup& group) const {
  if (!group.ready || !group.welcomed || group.session == nullptr) return false;
  const auto model = models_.find(group.model_key);
  return model != models_.end() && model->second.model != nullptr;
}

Dispatcher::GroupPointer* Dispatcher::FindGroup(const WorkerSession* session) {
  const auto it = groups_.find(session->hello().group_id());
  return it != groups_.end() && it->second->session.get() == session ? &it->second : nullptr;
}

void Dispatcher::OnTable(const v1::ClusterTable& table) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    const absl::Time now = absl::Now();
    const bool same_head = table.head_id() == head_id_;
    head_id_ = table.head_id();
    absl::flat_hash_set<std::string> listed;
    for (const v1::Group& group : table.groups()) {
      listed.insert(group.group_id());
      GroupPointer& known = groups_[group.group_id()];
      const bool is_ready = group.state() == v1::GROUP_STATE_READY;
      // Epochs start anew when head and workers all do: the same number may be another model's.
      if (known == nullptr || known->epoch != group.epoch() || known->model_key != group.model_key() ||
          (is_ready && known->endpoint != group.leader_endpoint())) {
        if (known != nullptr) RetireGroup(known);
        known = std::make_shared<DispatchGroup>();
        known->group_id = group.group_id();
        known->epoch = group.epoch();
        known->endpoint = group.leader_endpoint();
        known->model_key = group.model_key();
      }
      known->ready = is_ready;
      known->draining = group.draining();
      known->unlisted_since = absl::InfinitePast();
      if (is_ready && known->session == nullptr && now >= known->retry_at) OpenSession(known, now);
    }
    for (auto it = groups_.begin(); it != groups_.end();) {
      const auto current = it++;
      if (listed.contains(current->first)) continue;
      DispatchGroup& group = *current->second;
      if (same_head && group.unlisted_since == absl::InfinitePast()) {
        RetireGroup(current->second);
        groups_.erase(current);
      } else if (group.unlisted_since == absl::InfinitePast()) {
        group.unlisted_since = now;
      }
    }
    next_report_ = absl::InfinitePast();
  }
  AnnounceChange();
}

// New requests go elsewhere. The stream stays until its requests are done: the worker ends what its epoch's end breaks.
void Dispatcher::RetireGroup(const GroupPointer& group) {
  group->ready = false;
  group->retired = true;
  if (group->session != nullptr && group->active == 0) group->session->Close();
}

void Dispatcher::OpenSession(const GroupPointer& group, absl::Time now) {
  if (group->channel == nullptr) {
    group->channel = MakeChannel(options_.tls, options_.cluster, Role::kWorker, group->endpoint);
  }
  v1::SessionHello hello;
  hello.set_router_id(options_.router_id);
  hello.set_group_id(group->group_id);
  hello.set_epoch(group->epoch);
  group->retry_at = now + kSessionRetry;
  Loop* const loop = loops_[next_session_++ % loops_.size()];
  group->session = WorkerSession::Open(
      loop, {options_.tls, options_.cluster, Role::kWorker, group->endpoint, kSessionMethod}, hello, this);
  sessions_[group->session.get()] = group->session;
  FetchModelOf(*group, now);
}

void Dispatcher::FetchModelOf(const DispatchGroup& group, absl::Time now) {
  ModelState& state = models_[group.model_key];
  if (state.model != nullptr || state.fetching || now < state.retry_at) return;
  state.fetching = true;
  state.retry_at = now + kModelRetry;
  fetcher_->Fetch(group.model_key, group.channel);
}

void Dispatcher::OnModelFetched(const std::string& model_key, ModelFetcher::Result result) {
  if (!result.ok()) {
    LogWarning("router.model_failed", {{"model_key", model_key}, {"reason", result.status()}});
  } else {
    LogInfo("router.model_known", {{"model", (*result)->info.served_name()},
                                   {"vocabulary", (*result)->info.vocab_size()},
                                   {"max_model_len", (*result)->info.max_model_len()}});
  }
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    ModelState& state = models_[model_key];
    state.fetching = false;
    if (result.ok()) state.model = *std::move(result);
    next_report_ = absl::InfinitePast();
  }
  AnnounceChange();
}

// Of a cluster without groups: its model stays known, so that it is still listed and need not be fetched again.
bool Dispatcher::MayComeBack(const ModelState& state) const {
  return groups_.empty() && state.model != nullptr && state.model->info.served_name() == options_.served_model_name;
}

void Dispatcher::ForgetUnlisted(absl::Time now) {
  for (auto it = groups_.begin(); it != groups_.end();) {
    const auto current = it++;
    const DispatchGroup& group = *current->second;
    if (group.unlisted_since == absl::InfinitePast()) continue;
    if (group.session != nullptr && now - group.unlisted_since < kUnlistedGrace) continue;
    RetireGroup(current->second);
    groups_.erase(current);
  }
  for (auto it = models_.begin(); it != models_.end();) {
    const auto current = it++;
    const bool is_used = std::any_of(groups_.begin(), groups_.end(),
                                     [&](const auto& entry) { return entry.second->model_key == current->first; });
    if (!is_used && !current->second.fetching && !MayComeBack(current->second)) models_.erase(current);
  }
}

void Dispatcher::Tick() {
  const absl::Time now = absl::Now();
  head_->Tick(now);
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    ForgetUnlisted(now);
    for (const auto& [id, group] : groups_) {
      if (!group->ready) continue;
      if (group->session == nullptr) {
        if (now >= group->retry_at) OpenSession(group, now);
      } else if (group->welcomed) {
        FetchModelOf(*group, now);
      }
    }
  }
  ReportToHead(now);
}

void Dispatcher::SetEndpoints(const std::string& http_endpoint, const std::string& grpc_endpoint) {
  const std::lock_guard<std::mutex> lock(mutex_);
  http_endpoint_ = http_endpoint;
  grpc_endpoint_ = grpc_endpoint;
}

void Dispatcher::ReportToHead(absl::Time now) {
  v1::RouterReport report;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (now < next_report_) return;
    next_report_ = now + kReportInterval;
    report.set_router_id(options_.router_id);
    report.set_http_endpoint(http_endpoint_);
    report.set_grpc_endpoint(grpc_endpoint_);
    report.set_active_requests(active_);
    report.set_queued_requests(queued_ + waiting_for_group_);
    for (const auto& [id, group] : groups_) {
      if (!IsRoutable(*group) || group->draining) continue;
      v1::GroupSeat* seat = report.add_routable();
      seat->set_group_id(group->group_id);
      seat->set_epoch(group->epoch);
    }
  }
  metrics_->active_requests.Set(report.active_requests());
  metrics_->queued_requests.Set(report.queued_requests());
  metrics_->routable_groups.Set(report.routable_size());
  metrics_->head_connected.Set(head_->connected() ? 1 : 0);
  head_->Report(report);
}

void Dispatcher::Stop() {
  head_.reset();
  fetcher_.reset();
  for (const auto& [address, session] : sessions_) session->Abandon();
}

}  // namespace slmmesh
