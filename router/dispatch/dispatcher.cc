#include "router/dispatch/dispatcher.h"

#include <grpcpp/channel.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/log.h"
#include "router/dispatch/chooser.h"
#include "router/dispatch/dispatch_group.h"
#include "router/dispatch/head_watcher.h"
#include "router/openai/api_error.h"

namespace slmmesh {
namespace {

constexpr int kRetryAfterSeconds = 2;
constexpr double kServiceSmoothing = 0.1;
constexpr absl::Duration kWaitForAnother = absl::Seconds(2);  // while all groups drain

absl::Status NoGroup(const std::string& name) {
  return WithRetryAfter(
      absl::UnavailableError(absl::StrCat("no group that serves ", name.empty() ? "a model" : name, " is ready")),
      kRetryAfterSeconds);
}

}  // namespace

Dispatcher::Dispatcher(Options options, std::vector<Loop*> loops, RouterMetrics* metrics)
    : options_(std::move(options)), loops_(std::move(loops)), metrics_(metrics) {
  fetcher_ =
      std::make_unique<ModelFetcher>(metrics_, [this](const std::string& model_key, ModelFetcher::Result result) {
        OnModelFetched(model_key, std::move(result));
      });
  head_ = std::make_unique<HeadWatcher>(MakeChannel(options_.tls, options_.cluster, Role::kHead, options_.head_address),
                                        [this](const v1::ClusterTable& table) { OnTable(table); });
}

Dispatcher::~Dispatcher() = default;

absl::StatusOr<std::shared_ptr<const ServedModel>> Dispatcher::FindModel(const std::string& name) {
  return FindModelIn(Groups::kAll, name);
}

absl::StatusOr<std::shared_ptr<const ServedModel>> Dispatcher::FindModelIn(Groups groups, const std::string& name) {
  const std::lock_guard<std::mutex> lock(mutex_);
  absl::flat_hash_map<const ServedModel*, uint32_t> routable_groups;
  bool is_known = false;
  bool may_be_unknown_yet = options_.served_model_name.empty() ? groups_.empty() : name == options_.served_model_name;
  std::string other_name;
  for (const auto& [id, group] : groups_) {
    const std::shared_ptr<const ServedModel>& model = models_[group->model_key].model;
    if (model == nullptr) {
      may_be_unknown_yet = true;
      continue;
    }
    const std::string& served_name = model->info.served_name();
    if (!name.empty() && served_name != name) continue;
    if (name.empty() && is_known && served_name != other_name) {
      return RefuseField("model", "missing; more than one model is served here");
    }
    is_known = true;
    other_name = served_name;
    if (IsRoutable(*group) && (groups == Groups::kAll || !group->draining)) ++routable_groups[model.get()];
  }
  // During a rollout one name has two digests: take what more groups serve, the newer of two equals.
  const ServedModel* best = nullptr;
  uint32_t best_groups = 0;
  for (const auto& [model, count] : routable_groups) {
    if (count > best_groups ||
        (count == best_groups && best->info.created_unix_seconds() < model->info.created_unix_seconds())) {
      best = model;
      best_groups = count;
    }
  }
  if (best != nullptr) return models_[best->model_key].model;
  if (is_known || may_be_unknown_yet || name.empty()) return NoGroup(name);
  return WithCode(absl::NotFoundError(absl::StrCat("model: \"", name.substr(0, 64),
                                                   "\" is not served here; see GET "
                                                   "/v1/models")),
                  "model_not_found");
}

std::vector<std::shared_ptr<const ServedModel>> Dispatcher::Models() {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::map<std::string, std::shared_ptr<const ServedModel>> by_name;
  for (const auto& [key, state] : models_) {
    if (state.model != nullptr) by_name[state.model->info.served_name()] = state.model;
  }
  std::vector<std::shared_ptr<const ServedModel>> models;
  for (auto& [name, model] : by_name) models.push_back(std::move(model));
  return models;
}

bool Dispatcher::IsReady() {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto any = [this](auto holds) {
    return std::any_of(groups_.begin(), groups_.end(), [&](const auto& entry) { return holds(*entry.second); });
  };
  if (any([this](const DispatchGroup& group) { return IsRoutable(group); })) return true;
  const bool knows_the_cluster = !head_id_.empty() && !options_.served_model_name.empty();
  return knows_the_cluster && !any([](const DispatchGroup& group) { return group.ready; });
}

void Dispatcher::WaitForModel(Loop* loop, const std::string& name, absl::Time deadline, std::function<bool()> gone,
                              OnModel done) {
  absl::StatusOr<std::shared_ptr<const ServedModel>> model = FindModelIn(Groups::kNotDraining, name);
  if (model.ok() || !absl::IsUnavailable(model.status())) return done(std::move(model));
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (waiting_for_group_ >= options_.queue.max_queue_per_model) {
      model = WithRetryAfter(absl::ResourceExhaustedError("too many requests wait for a group; try again later"),
                             kRetryAfterSeconds);
    } else {
      ++waiting_for_group_;
      next_report_ = absl::InfinitePast();  // who scales the cluster hears of it at once
    }
  }
  if (absl::IsResourceExhausted(model.status())) return done(std::move(model));
  deadline = std::min(deadline, absl::Now() + options_.wait_for_group);
  WaitOn(loop, std::make_shared<const ModelWait>(ModelWait{name, deadline, std::move(gone), std::move(done)}));
}

void Dispatcher::WaitOn(Loop* loop, std::shared_ptr<const ModelWait> wait) {
  const absl::Time until = std::min(wait->deadline, absl::Now() + kWaitForAnother);
  loop->wait_list().Add(until, [this, loop, wait](bool expired) {
    const bool is_gone = wait->gone();
    auto found = FindModelIn(expired ? Groups::kAll : Groups::kNotDraining, wait->name);
    const bool is_late = expired && absl::Now() >= wait->deadline;
    if (!is_gone && !is_late && absl::IsUnavailable(found.status())) {
      if (expired) loop->Post([this, loop, wait] { WaitOn(loop, wait); });
      return false;
    }
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      --waiting_for_group_;
    }
    if (!is_gone) wait->done(std::move(found));
    return true;
  });
}

// With the mutex held.
Dispatcher::GroupPointer Dispatcher::Choose(const std::string& model_key, std::span<const BlockHash> prompt_hashes,
                                            QueueLengths* lengths) {
  std::vector<GroupPointer> groups;
  std::vector<GroupCandidate> candidates;
  *lengths = {};
  for (const auto& [id, group] : groups_) {
    lengths->all += group->queued;
    if (group->model_key != model_key) continue;
    lengths->of_model += group->queued;
    if (!IsRoutable(*group)) continue;
    const GroupQueue queue = group->Queue();
    groups.push_back(group);
    candidates.push_back(
        {group->blocks.LongestPrefix(prompt_hashes), queue.requests, queue.max_running, group->draining});
  }
  const std::optional<uint32_t> choice = ChooseGroup(candidates, ++turn_);
  return choice.has_value() ? groups[*choice] : nullptr;
}

absl::StatusOr<DispatchTicket> Dispatcher::Submit(Loop* loop, const ServedModel& model,
                                                  std::span<const BlockHash> prompt_hashes, v1::Submit submit,
                                                  absl::Time deadline, OutputReceiver* receiver) {
  DispatchTicket ticket;
  ticket.handle = loop->inbox().NewHandle();
  submit.set_handle(ticket.handle);
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    QueueLengths lengths;
    ticket.group = Choose(model.model_key, prompt_hashes, &lengths);
    if (ticket.group == nullptr) return NoGroup(model.info.served_name());
    const absl::Status admitted = Admit(options_.queue, lengths, EstimateWaitSeconds(ticket.group->Queue()),
                                        absl::ToDoubleSeconds(deadline - absl::Now()));
    if (!admitted.ok()) return admitted;
    ticket.session = ticket.group->session;
    ++active_;
    ++queued_;
    ++ticket.group->active;
    ++ticket.group->queued;
    ++ticket.group->sent_requests;
    ticket.group->sent_prompt_tokens += submit.prompt_tokens_size();
  }
  // Before it is sent: the first output may come at any moment (to this loop's queue, behind this handler).
  loop->inbox().Add(ticket.handle, ticket.session.get(), deadline, receiver);
  if (!ticket.session->Submit(std::move(submit))) {
    Finish(loop, &ticket, End::kFinished, absl::ZeroDuration());
    return NoGroup(model.info.served_name());
  }
  return ticket;
}

void Dispatcher::FirstOutput(DispatchTicket* ticket) {
  if (!ticket->queued) return;
  ticket->queued = false;
  const std::lock_guard<std::mutex> lock(mutex_);
  --queued_;
  --ticket->group->queued;
}

void Dispatcher::Finish(Loop* loop, DispatchTicket* ticket, End end, absl::Duration service_time) {
  loop->inbox().Remove(ticket->handle);
  if (end == End::kCancelled) ticket->session->Cancel(ticket->handle);
  FirstOutput(ticket);
  const std::lock_guard<std::mutex> lock(mutex_);
  --active_;
  if (--ticket->group->active == 0 && ticket->group->retired) ticket->session->Close();
  if (end == End::kCancelled || service_time <= absl::ZeroDuration()) return;
  double& smoothed = ticket->group->service_seconds;
  const double seconds = absl::ToDoubleSeconds(service_time);
  smoothed = smoothed == 0 ? seconds : smoothed + kServiceSmoothing * (seconds - smoothed);
}

void Dispatcher::PostToLoops(uint64_t loop_mask, const std::function<void(Loop*)>& task) {
  for (Loop* loop : loops_) {
    if (((loop_mask >> loop->index()) & 1) == 0) continue;
    if (loop->IsCurrent()) {
      task(loop);
    } else {
      loop->Post([task, loop] { task(loop); });
    }
  }
}

void Dispatcher::OnMessage(WorkerSession* session, std::shared_ptr<const v1::SessionResponse> message) {
  bool became_routable = false;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (GroupPointer* group = FindGroup(session); group != nullptr) {
      if (message->has_welcome()) {
        (*group)->welcomed = became_routable = true;
        next_report_ = absl::InfinitePast();
      }
      if (message->has_load()) {
        (*group)->load = message->load();
        (*group)->sent_requests = 0;
        (*group)->sent_prompt_tokens = 0;
      }
      if (message->has_block_events()) (*group)->blocks.Apply(message->block_events());
    }
  }
  uint64_t loop_mask = 0;
  for (const v1::TokenOutput& output : message->outputs()) loop_mask |= uint64_t{1} << Inbox::LoopOf(output.handle());
  PostToLoops(loop_mask, [message](Loop* loop) { loop->inbox().Deliver(*message, absl::Now()); });
  if (became_routable) AnnounceChange();
}

void Dispatcher::OnClosed(WorkerSession* session, const absl::Status& status) {
  LogInfo("router.session_closed",
          {{"group", session->hello().group_id()}, {"epoch", session->hello().epoch()}, {"reason", status}});
  const absl::Status broken =
      WithRetryAfter(absl::UnavailableError(absl::StrCat("the group that worked on this request is gone (",
                                                         session->hello().group_id(), "); send it again")),
                     kRetryAfterSeconds);
  std::shared_ptr<WorkerSession> kept;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    kept = sessions_.at(session);
    if (GroupPointer* group = FindGroup(session); group != nullptr) {
      (*group)->session = nullptr;
      (*group)->welcomed = false;
      (*group)->retry_at = absl::Now() + absl::Milliseconds(200);
      next_report_ = absl::InfinitePast();
    }
  }
  // Inboxes know a session by its address: holding it keeps the address from being used again before they looked.
  PostToLoops(~uint64_t{0}, [kept, broken](Loop* loop) { loop->inbox().Break(kept.get(), broken); });
  const std::lock_guard<std::mutex> lock(mutex_);
  sessions_.erase(session);
}

void Dispatcher::AnnounceChange() {
  PostToLoops(~uint64_t{0}, [](Loop* loop) { loop->wait_list().Retry(); });
}

}  // namespace slmmesh
