#include "worker/server/worker.h"

#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/admin_server.h"
#include "common/log.h"
#include "common/metrics.h"
#include "common/net.h"
#include "common/random.h"
#include "common/status.h"
#include "worker/model/matrix_format.h"
#include "worker/model/rope.h"
#include "worker/server/head_client.h"
#include "worker/server/host.h"
#include "worker/server/model_info.h"
#include "worker/server/model_store.h"
#include "worker/server/seat_keeper.h"
#include "worker/server/tokenizer_check.h"
#include "worker/server/worker_server.h"

namespace slmmesh {
namespace {

absl::Status CheckMaxModelLen(const WorkerConfig& config, const Checkpoint& checkpoint) {
  const int64_t longest = LongestContext(checkpoint.config());
  if (config.max_model_len <= longest) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("--max-model-len=", config.max_model_len, ": this model reaches ",
                                                 longest, " positions; give at most that"));
}

// A copy of a model that is kept in 4 bits would be no faster than the model. One matrix tells of most.
absl::Status CheckSelfQuantized(const WorkerConfig& config, const Checkpoint& checkpoint) {
  if (config.speculative_method != SpeculationMethod::kSelfQuantized) return absl::OkStatus();
  const int64_t rows = checkpoint.config().intermediate_size, columns = checkpoint.config().hidden_size;
  ASSIGN_OR_RETURN(const TensorView tensor, checkpoint.Find("model.layers.0.mlp.up_proj.weight", {rows, columns}));
  const MatrixFormat kept = ChooseMatrixFormat(config.weights, NativeFormat(tensor), {0, columns});
  if (kept.format.type != kernels::WeightType::kInt4) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("--speculative-method=self-quantized: --weights=", WeightsName(config.weights),
                   " keeps this model in 4 bits, and its copy at 4 bits would be no faster; give ngram or draft, or "
                   "leave speculation out"));
}

// The copy reads and writes the model's KV cache.
absl::Status CheckSameShape(const ModelConfig& model, const ModelConfig& copy) {
  const std::tuple<const char*, int64_t, int64_t> fields[] = {
      {"architecture", static_cast<int64_t>(model.architecture), static_cast<int64_t>(copy.architecture)},
      {"num_hidden_layers", model.num_layers, copy.num_layers},
      {"hidden_size", model.hidden_size, copy.hidden_size},
      {"num_attention_heads", model.num_q_heads, copy.num_q_heads},
      {"num_key_value_heads", model.num_kv_heads, copy.num_kv_heads},
      {"head_dim", model.head_dim, copy.head_dim},
      {"rotary dimensions", model.rotary_dim, copy.rotary_dim},
      {"vocab_size", model.vocab_size, copy.vocab_size}};
  for (const auto& [name, of_model, of_copy] : fields) {
    if (of_model == of_copy) continue;
    return absl::InvalidArgumentError(absl::StrCat("its ", name, " is ", of_copy, ", the model's ", of_model,
                                                   "; self-quantized takes the same model, as mesh convert writes it; "
                                                   "for another model use draft"));
  }
  return absl::OkStatus();
}

class WorkerImpl : public Worker {
 public:
  explicit WorkerImpl(const WorkerConfig& config)
      : config_(config),
        metrics_(&registry_, config_.served_model_name, SpeculationMethodName(config_.speculative_method)) {}
  ~WorkerImpl() override {
    if (head_ != nullptr) head_->Leave();  // no assignment comes any more
  }

  absl::Status StartParts();
  std::string grpc_address() const override { return AddressOf(server_->port()); }
  std::string exchange_address() const override { return AddressOf(listener_->port()); }
  std::string admin_address() const override { return admin_ == nullptr ? "" : AddressOf(admin_->port()); }
  std::string RenderMetrics() const override { return registry_.RenderText(); }
  bool Drain() override {
    head_->AnnounceLeaving();  // routers send nothing new, and rank 0 ends the epoch when nothing runs
    const bool is_over = keeper_->Drain(config_.drain_timeout);
    head_->Leave();
    return is_over;
  }

 private:
  std::string AddressOf(int port) const { return JoinHostPort(config_.advertise_host, static_cast<uint16_t>(port)); }
  absl::Status OpenDraft();
  absl::Status StartServers();
  void StartKeeper(std::unique_ptr<kernels::Backend> backend);
  absl::Status StartAdmin();
  v1::Offer DescribeOffer() const;

  const WorkerConfig config_;
  Metrics registry_;
  WorkerMetrics metrics_;
  std::shared_ptr<const Checkpoint> checkpoint_;
  std::shared_ptr<const Checkpoint> draft_checkpoint_;  // null: there is no draft model
  SeatLeader leader_;
  std::unique_ptr<ExchangeListener> listener_;
  std::unique_ptr<WorkerServer> server_;
  std::unique_ptr<ModelStore> models_;
  std::unique_ptr<HeadClient> head_;
  std::unique_ptr<SeatKeeper> keeper_;  // reports through head_
  std::unique_ptr<AdminServer> admin_;
};

absl::Status WorkerImpl::StartParts() {
  ASSIGN_OR_RETURN(checkpoint_, Checkpoint::Open(config_.model, config_.sha256));
  RETURN_IF_ERROR(CheckMaxModelLen(config_, *checkpoint_));
  RETURN_IF_ERROR(CheckSelfQuantized(config_, *checkpoint_));
  RETURN_IF_ERROR(Annotate(OpenDraft(), "--speculative-model"));
  std::unique_ptr<kernels::Backend> backend = kernels::CreateCpuBackend(config_.cpu);
  if (backend == nullptr) return absl::InvalidArgumentError("--isa: this machine lacks that instruction set");
  RETURN_IF_ERROR(StartServers());
  head_ = HeadClient::Create({config_.head, config_.tls, config_.cluster, DescribeOffer()});
  StartKeeper(std::move(backend));
  RETURN_IF_ERROR(StartAdmin());
  head_->Start({[this](const v1::Assignment& assignment) { keeper_->Assign(assignment); },
                [this](const v1::Release& release) { keeper_->Release(release); },
                [this](const v1::Drain& drain) { keeper_->EndWhenIdle(drain.seat()); }});
  return absl::OkStatus();
}

absl::Status WorkerImpl::OpenDraft() {
  if (config_.speculative_model.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(draft_checkpoint_, Checkpoint::Open(config_.speculative_model));
  if (config_.speculative_method == SpeculationMethod::kSelfQuantized) {
    RETURN_IF_ERROR(CheckSameShape(checkpoint_->config(), draft_checkpoint_->config()));
  }
  return CheckSameTokenizer(checkpoint_->text().tokenizer_json, draft_checkpoint_->text().tokenizer_json);
}

absl::Status WorkerImpl::StartServers() {
  ASSIGN_OR_RETURN(listener_, ExchangeListener::Start({config_.exchange_listen, config_.tls, config_.cluster}));
  WorkerServer::Options options;
  options.address = config_.listen;
  options.tls = config_.tls;
  options.cluster = config_.cluster;
  options.model = DescribeModel(config_, *checkpoint_, absl::ToUnixSeconds(absl::Now()));
  options.leader = &leader_;
  options.metrics = &metrics_;
  ASSIGN_OR_RETURN(server_, WorkerServer::Start(std::move(options)));
  return absl::OkStatus();
}

v1::Offer WorkerImpl::DescribeOffer() const {
  v1::Offer offer;
  offer.set_worker_id(config_.worker_id);
  offer.set_incarnation(RandomUint64() | 1);  // never 0
  offer.set_worker_group(config_.worker_group);
  offer.set_revision(config_.revision);
  offer.set_tensor_parallel_size(static_cast<uint32_t>(config_.tensor_parallel_size));
  offer.set_model_key(ModelKey(config_, *checkpoint_, draft_checkpoint_.get()));
  offer.set_accelerator("cpu");
  offer.set_memory_bytes(AvailableMemoryBytes());
  offer.set_host_id(HostId());
  offer.set_endpoint(grpc_address());
  offer.set_exchange_endpoint(exchange_address());
  return offer;
}

void WorkerImpl::StartKeeper(std::unique_ptr<kernels::Backend> backend) {
  models_ = std::make_unique<ModelStore>(config_, checkpoint_, draft_checkpoint_, std::move(backend), &metrics_);
  SessionContext context;
  context.config = &config_;
  context.checkpoint = checkpoint_.get();
  context.models = models_.get();
  context.listener = listener_.get();
  context.leader = &leader_;
  context.metrics = &metrics_;
  context.report = [this](const v1::WorkerStatus& status) { head_->SetStatus(status); };
  context.report_load = [this](const v1::LoadReport& load) { head_->SetLoad(load); };
  keeper_ = std::make_unique<SeatKeeper>(std::move(context));
}

absl::Status WorkerImpl::StartAdmin() {
  if (config_.admin_listen.empty()) return absl::OkStatus();
  AdminServer::Options options;
  options.address = config_.admin_listen;
  options.tls = config_.tls;
  options.cluster = config_.cluster;
  options.metrics = &registry_;
  options.ready = [this] { return keeper_->IsServing(); };
  ASSIGN_OR_RETURN(admin_, AdminServer::Start(std::move(options)));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Worker>> Worker::Start(const WorkerConfig& config) {
  auto worker = std::make_unique<WorkerImpl>(config);
  RETURN_IF_ERROR(worker->StartParts());
  return worker;
}

}  // namespace slmmesh
