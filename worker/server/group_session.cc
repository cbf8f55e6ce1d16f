#include "worker/server/group_session.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/log.h"
#include "common/status.h"
#include "worker/server/group_runner.h"
#include "worker/server/host.h"
#include "worker/server/kv_budget.h"
#include "worker/server/timed_communicator.h"

namespace slmmesh {
namespace {

constexpr absl::Duration kIdleInterval = absl::Seconds(1);  // rank 0's keepalives to the other ranks

GroupJoin DescribeJoin(const v1::Assignment& assignment, const WorkerConfig& config) {
  GroupJoin join;
  join.group_id = assignment.seat().group_id();
  join.epoch = assignment.seat().epoch();
  join.rank = static_cast<int>(assignment.seat().rank());
  join.join_timeout = config.join_timeout;
  join.operation_timeout = config.step_timeout;
  for (const v1::Peer& peer : assignment.peers()) {
    join.members.push_back({peer.host_id(), peer.exchange_endpoint(), peer.incarnation()});
  }
  return join;
}

absl::Status CheckAssignment(const v1::Assignment& assignment) {
  const v1::GroupSeat& seat = assignment.seat();
  if (seat.size() != static_cast<uint32_t>(assignment.peers_size()) || seat.rank() >= seat.size()) {
    return absl::InvalidArgumentError(absl::StrCat("assignment: rank ", seat.rank(), " of ", seat.size(), " with ",
                                                   assignment.peers_size(), " peers"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status GroupSession::Run() {
  const absl::Status end = RunEpoch();
  context_.leader->Clear();
  if (communicator_ != nullptr && !end.ok()) communicator_->Abort(std::string(end.message()));
  absl::MutexLock lock(&mutex_);
  loop_.reset();
  // What broke on the way down follows from the stop: that is the reason to tell.
  return stopped_.ok() ? end : stopped_;
}

absl::Status GroupSession::RunEpoch() {
  RETURN_IF_ERROR(CheckAssignment(assignment_));
  ASSIGN_OR_RETURN(const ShardModels models, LoadShard());
  RETURN_IF_ERROR(CheckStopped());
  Report(v1::WORKER_PHASE_JOINING, 1);
  RETURN_IF_ERROR(Join());
  ASSIGN_OR_RETURN(const int64_t num_blocks, AgreeOnKvBlocks(models));
  RETURN_IF_ERROR(ResetKvCaches(models, num_blocks));
  LogInfo("group.joined", {{"group", seat().group_id()},
                           {"epoch", seat().epoch()},
                           {"rank", seat().rank()},
                           {"size", seat().size()},
                           {"kv_blocks", num_blocks}});
  return seat().rank() == 0 ? Lead(models, num_blocks) : Follow(models);
}

absl::StatusOr<ShardModels> GroupSession::LoadShard() {
  Report(v1::WORKER_PHASE_LOADING, 0);
  double reported = 0;
  return context_.models->Get(static_cast<int>(seat().rank()), static_cast<int>(seat().size()), [&](double fraction) {
    if (fraction < reported + 0.02) return;
    reported = fraction;
    Report(v1::WORKER_PHASE_LOADING, fraction);
  });
}

absl::Status GroupSession::Join() {
  GroupJoin join = DescribeJoin(assignment_, *context_.config);
  join.cancelled = [this] { return !CheckStopped().ok(); };
  const TcpOptions tcp = {context_.config->tls, context_.config->cluster, context_.listener};
  ASSIGN_OR_RETURN(std::unique_ptr<Communicator> connected, ConnectGroup(join, tcp));
  absl::MutexLock lock(&mutex_);
  communicator_ = TimeCommunicator(std::move(connected), &context_.metrics->all_reduce_seconds);
  return stopped_;
}

absl::StatusOr<int64_t> GroupSession::OwnKvBlocks(const ShardModels& models) const {
  const WorkerConfig& config = *context_.config;
  KvBudget budget;
  budget.available_bytes = AvailableMemoryBytes();
  budget.weight_bytes = models.target->weight_bytes();
  if (models.draft != nullptr) budget.weight_bytes += models.draft->weight_bytes();
  budget.ranks_on_host = RanksOnThisHost();
  budget.memory_utilization = config.memory_utilization;
  budget.bytes_per_block = models.target->KvBytesPerBlock(config.kv_cache, config.block_size);
  if (HasDraftCache()) budget.bytes_per_block += models.draft->KvBytesPerBlock(config.kv_cache, config.block_size);
  budget.block_size = config.block_size;
  budget.max_model_len = models.target->max_model_len();
  budget.max_num_seqs = config.max_num_seqs;
  return NumKvBlocks(budget);
}

// The least of what the ranks can hold. All measure before any allocates; a rank that cannot hold enough says 0, so
// that the others learn of it here and not by a timeout.
absl::StatusOr<int64_t> GroupSession::AgreeOnKvBlocks(const ShardModels& models) {
  const absl::StatusOr<int64_t> own = OwnKvBlocks(models);
  const std::vector<float> mine = {own.ok() ? static_cast<float>(*own) : 0.0f};
  std::vector<float> all(seat().size());
  RETURN_IF_ERROR(communicator_->GatherToRoot(mine, std::vector<size_t>(all.size(), 1), all.data()));
  std::string agreed = absl::StrCat(static_cast<int64_t>(*std::min_element(all.begin(), all.end())));
  const absl::Status heard = communicator_->Broadcast(&agreed, context_.config->step_timeout);
  RETURN_IF_ERROR(own.status());  // the reason to tell, whatever the others do meanwhile
  RETURN_IF_ERROR(heard);
  int64_t num_blocks = 0;
  if (!absl::SimpleAtoi(agreed, &num_blocks)) return absl::InternalError("rank 0 sent no number of KV blocks");
  if (num_blocks == 0) return absl::ResourceExhaustedError("KV cache: another rank has too little memory for it");
  return num_blocks;
}

absl::Status GroupSession::ResetKvCaches(const ShardModels& models, int64_t num_blocks) {
  const KvCacheOptions options = {context_.config->kv_cache, num_blocks, context_.config->block_size};
  RETURN_IF_ERROR(models.target->ResetKvCache(options));
  return HasDraftCache() ? models.draft->ResetKvCache(options) : absl::OkStatus();
}

EngineOptions GroupSession::DescribeEngine(const ShardModels& models, int64_t num_blocks) const {
  const WorkerConfig& config = *context_.config;
  EngineOptions options;
  options.num_blocks = static_cast<uint32_t>(num_blocks);
  options.block_size = config.block_size;
  options.max_model_len = static_cast<uint32_t>(models.target->max_model_len());
  options.max_num_seqs = config.max_num_seqs;
  options.max_num_batched_tokens = config.max_num_batched_tokens;
  options.target_step = config.target_step;
  options.enable_prefix_caching = config.enable_prefix_caching;
  options.eos_token_ids = context_.checkpoint->text().eos_token_ids;
  options.speculation.method = config.speculative_method;
  options.speculation.rule = config.speculative_rule;
  options.speculation.max_guesses = config.num_speculative_tokens;
  if (HasDraftCache()) options.speculation.draft_max_len = static_cast<uint32_t>(models.draft->max_model_len());
  return options;
}

absl::Status GroupSession::Lead(const ShardModels& models, int64_t num_blocks) {
  const absl::Duration step_timeout = context_.config->step_timeout;
  GroupRunner runner(models.target, communicator_.get(), step_timeout);
  GroupRunner draft(models.draft, communicator_.get(), step_timeout, PlanModel::kDraft);
  ASSIGN_OR_RETURN(std::unique_ptr<Engine> engine,
                   Engine::Create(DescribeEngine(models, num_blocks), &runner, &Clock::Real(),
                                  models.draft == nullptr ? nullptr : &draft));
  RETURN_IF_ERROR(runner.KeepAlive());  // all ranks have their caches
  context_.report_load(engine->Load());
  EngineLoop::Options loop_options;
  loop_options.idle_interval = kIdleInterval;
  loop_options.keep_alive = [&runner] { return runner.KeepAlive(); };
  loop_options.on_load = context_.report_load;
  const auto loop = std::make_shared<EngineLoop>(std::move(engine), std::move(loop_options), context_.metrics);
  RETURN_IF_ERROR(SetLoop(loop));
  context_.leader->Set(seat().group_id(), seat().epoch(), loop);
  Report(v1::WORKER_PHASE_SERVING, 1);
  RETURN_IF_ERROR(loop->Run());
  return runner.ShutDown();
}

absl::Status GroupSession::Follow(const ShardModels& models) {
  Report(v1::WORKER_PHASE_SERVING, 1);
  return FollowPlans(models, communicator_.get(), kIdleInterval + context_.config->step_timeout);
}

absl::Status GroupSession::SetLoop(std::shared_ptr<EngineLoop> loop) {
  absl::MutexLock lock(&mutex_);
  loop_ = std::move(loop);
  if (is_draining_) loop_->Drain();
  return stopped_;
}

void GroupSession::Stop(const absl::Status& reason) {
  absl::MutexLock lock(&mutex_);
  if (!stopped_.ok()) return;
  stopped_ = reason;
  if (loop_ != nullptr) loop_->Stop(reason);
  if (communicator_ != nullptr) communicator_->Abort(std::string(reason.message()));
}

void GroupSession::Drain() {
  absl::MutexLock lock(&mutex_);
  is_draining_ = true;
  if (loop_ != nullptr) loop_->Drain();
}

absl::Status GroupSession::CheckStopped() const {
  absl::MutexLock lock(&mutex_);
  return stopped_;
}

int GroupSession::RanksOnThisHost() const {
  const std::string& here = assignment_.peers(static_cast<int>(seat().rank())).host_id();
  return static_cast<int>(std::count_if(assignment_.peers().begin(), assignment_.peers().end(),
                                        [&](const v1::Peer& peer) { return peer.host_id() == here; }));
}

void GroupSession::Report(v1::WorkerPhase phase, double load_fraction) const {
  v1::WorkerStatus status;
  status.set_phase(phase);
  *status.mutable_seat() = seat();
  status.set_load_fraction(static_cast<float>(load_fraction));
  context_.report(status);
}

}  // namespace slmmesh
