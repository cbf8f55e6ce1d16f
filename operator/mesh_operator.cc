#include "operator/mesh_operator.h"

#include <atomic>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "common/admin_server.h"
#include "common/log.h"
#include "common/metrics.h"
#include "common/status.h"
#include "operator/counting_client.h"
#include "operator/kube/lease.h"
#include "operator/own_certificates.h"
#include "operator/reconcile_threads.h"

namespace slmmesh {
namespace {

constexpr char kLeaseName[] = "slm-mesh-operator";
constexpr absl::Duration kRequestTimeout = absl::Seconds(10);
constexpr absl::Duration kHousekeeping = absl::Seconds(1);
constexpr absl::Duration kOwnLifetime = absl::Hours(24);  // of certificates that belong to no cluster
constexpr absl::Duration kCheckOwn = absl::Hours(1);
constexpr int kMaxTriesForKey = 60;
constexpr absl::Duration kRetryKey = absl::Seconds(1);

class RunningOperator : public MeshOperator {
 public:
  explicit RunningOperator(Options options)
      : options_(std::move(options)),
        operator_metrics_(&metrics_),
        cache_([this](const std::string& key) { Changed(key); }) {}

  ~RunningOperator() override {
    stop_.Notify();
    if (housekeeper_.joinable()) housekeeper_.join();
    elector_.reset();  // stops acting and releases the lease
    StopActing();
    for (const auto& reflector : reflectors_) reflector->RequestStop();
    reflectors_.clear();
    admin_.reset();
  }

  absl::Status Run();
  int admin_port() const override { return admin_->port(); }

 private:
  absl::StatusOr<std::unique_ptr<kube::Client>> MakeClient(int max_connections);
  absl::Status LoadMasterKey();
  absl::Status StartAdmin();
  void Watch(const kube::Resource& resource, CachedKind kind, const std::string& label_selector);
  bool Synced() const;
  void Changed(const std::string& key);
  void StartActing();
  void StopActing();
  void KeepHouse();

  const Options options_;
  Metrics metrics_;
  OperatorMetrics operator_metrics_;
  ClusterCache cache_;
  std::unique_ptr<kube::Client> client_;
  std::unique_ptr<kube::Client> lease_client_;  // its own: a busy operator must not lose its lease
  std::optional<MasterKey> master_;
  std::shared_ptr<ClusterCertificates> certificates_;
  std::vector<std::unique_ptr<kube::Reflector>> reflectors_;
  std::unique_ptr<AdminServer> admin_;
  std::unique_ptr<kube::LeaderElector> elector_;
  absl::Notification stop_;
  std::thread housekeeper_;
  absl::Mutex mutex_;
  std::shared_ptr<ReconcileThreads> acting_ ABSL_GUARDED_BY(mutex_);  // null: standing by
};

absl::StatusOr<std::unique_ptr<kube::Client>> RunningOperator::MakeClient(int max_connections) {
  kube::Client::Options options;
  options.config = options_.config;
  options.max_connections = max_connections;
  options.request_timeout = kRequestTimeout;
  options.user_agent = absl::StrCat("mesh-operator/", options_.settings.version);
  ASSIGN_OR_RETURN(std::unique_ptr<kube::Client> client, kube::Client::Create(std::move(options)));
  return MakeCountingClient(std::move(client), &operator_metrics_);
}

// Everything needs the master key; the API server may come later than we do.
absl::Status RunningOperator::LoadMasterKey() {
  for (int tries = 1;; ++tries) {
    absl::StatusOr<MasterKey> master = MasterKey::LoadOrCreate(client_.get(), options_.ns);
    if (master.ok()) {
      master_ = *std::move(master);
      return absl::OkStatus();
    }
    const bool may_pass = absl::IsUnavailable(master.status()) || absl::IsDeadlineExceeded(master.status());
    if (!may_pass || tries == kMaxTriesForKey) return Annotate(master.status(), "master key");
    LogWarning("operator.waits_for_api_server", {{"reason", master.status()}});
    absl::SleepFor(kRetryKey);
  }
}

absl::Status RunningOperator::StartAdmin() {
  RETURN_IF_ERROR(WriteOwnCertificate(*master_, options_.tls_folder, options_.identity, kOwnLifetime));
  AdminServer::Options admin;
  admin.address = options_.admin_listen;
  admin.tls = TlsFilesIn(options_.tls_folder);
  admin.cluster = kMonitoringCluster;
  admin.metrics = &metrics_;
  admin.ready = [this] { return Synced(); };
  ASSIGN_OR_RETURN(admin_, AdminServer::Start(std::move(admin)));
  return absl::OkStatus();
}

void RunningOperator::Watch(const kube::Resource& resource, CachedKind kind, const std::string& label_selector) {
  std::vector<std::string> namespaces = options_.watch_namespaces;
  if (namespaces.empty()) namespaces.emplace_back();
  for (const std::string& ns : namespaces) {
    kube::Reflector::Options options;
    options.resource = resource;
    options.list.ns = ns;
    options.list.label_selector = label_selector;
    reflectors_.push_back(kube::Reflector::Start(client_.get(), std::move(options), cache_.SinkOf(kind, ns)));
  }
}

absl::Status RunningOperator::Run() {
  ASSIGN_OR_RETURN(client_, MakeClient(options_.threads + 16));
  ASSIGN_OR_RETURN(lease_client_, MakeClient(2));
  RETURN_IF_ERROR(LoadMasterKey());
  ASSIGN_OR_RETURN(certificates_, ClusterCertificates::Create(client_.get(), *master_,
                                                              options_.settings.certificate_lifetime, &Clock::Real()));
  const std::string ours = absl::StrCat(kManagedByLabel, "=", kManagedBy);
  Watch(kube::resources::kInferenceClusters, CachedKind::kCluster, "");
  Watch(kube::resources::kPods, CachedKind::kPod, absl::StrCat(ours, ",", kClusterLabel));
  Watch(kube::resources::kServices, CachedKind::kService, absl::StrCat(ours, ",", kClusterLabel));
  Watch(kube::resources::kPodDisruptionBudgets, CachedKind::kDisruptionBudget, absl::StrCat(ours, ",", kClusterLabel));
  RETURN_IF_ERROR(StartAdmin());
  if (options_.leader_elect) {
    kube::LeaderElector::Options election;
    election.ns = options_.ns;
    election.name = kLeaseName;
    election.identity = options_.identity;
    election.on_started = [this] { StartActing(); };
    election.on_stopped = [this] { StopActing(); };
    elector_ = kube::LeaderElector::Start(lease_client_.get(), std::move(election));
  } else {
    StartActing();
  }
  housekeeper_ = std::thread([this] { KeepHouse(); });
  return absl::OkStatus();
}

bool RunningOperator::Synced() const {
  for (const auto& reflector : reflectors_) {
    if (!reflector->synced()) return false;
  }
  return true;
}

void RunningOperator::Changed(const std::string& key) {
  std::shared_ptr<ReconcileThreads> acting;
  {
    const absl::MutexLock lock(&mutex_);
    acting = acting_;
  }
  if (acting != nullptr) acting->Add(key);
}

void RunningOperator::StartActing() {
  LogInfo("operator.leads", {{"identity", options_.identity}});
  operator_metrics_.SetLeader(true);
  ReconcileThreads::Options options;
  options.client = client_.get();
  options.cache = &cache_;
  options.certificates = certificates_;
  options.metrics = &operator_metrics_;
  options.settings = options_.settings;
  options.threads = options_.threads;
  options.adopt_rayclusters = options_.adopt_rayclusters;
  options.watch_namespaces = options_.watch_namespaces;
  options.synced = [this] { return Synced(); };
  auto acting = ReconcileThreads::Start(std::move(options));
  const absl::MutexLock lock(&mutex_);
  acting_ = std::move(acting);
}

void RunningOperator::StopActing() {
  std::shared_ptr<ReconcileThreads> acting;
  {
    const absl::MutexLock lock(&mutex_);
    acting = std::move(acting_);
  }
  if (acting == nullptr) return;
  acting->Stop();
  operator_metrics_.SetLeader(false);
  LogInfo("operator.stands_by", {{"identity", options_.identity}});
}

// Gauges, the operator's own certificate, and while it leads the monitoring identity.
void RunningOperator::KeepHouse() {
  absl::Time own_written = absl::Now();
  absl::Time monitor_checked = absl::InfinitePast();
  while (!stop_.WaitForNotificationWithTimeout(kHousekeeping)) {
    const absl::Time now = absl::Now();
    std::shared_ptr<ReconcileThreads> acting;
    {
      const absl::MutexLock lock(&mutex_);
      acting = acting_;
    }
    operator_metrics_.SetQueue(acting == nullptr ? 0 : acting->waiting(),
                               acting == nullptr ? absl::ZeroDuration() : acting->oldest_wait());
    operator_metrics_.SetCached(cache_.clusters(), cache_.pods(), acting == nullptr ? 0 : acting->head_streams());
    if (now > own_written + kOwnLifetime / 2) {
      const absl::Status written = WriteOwnCertificate(*master_, options_.tls_folder, options_.identity, kOwnLifetime);
      if (!written.ok()) LogWarning("operator.own_certificate_not_renewed", {{"reason", written}});
      own_written = written.ok() ? now : own_written + kCheckOwn;
    }
    if (acting != nullptr && now > monitor_checked + kCheckOwn) {
      const absl::Status renewed = RenewMonitorSecret(client_.get(), options_.ns, *master_, kOwnLifetime, now);
      if (!renewed.ok()) LogWarning("operator.monitor_secret_not_written", {{"reason", renewed}});
      monitor_checked = renewed.ok() ? now : now - kCheckOwn + absl::Minutes(1);
    }
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<MeshOperator>> MeshOperator::Start(Options options) {
  auto running = std::make_unique<RunningOperator>(std::move(options));
  RETURN_IF_ERROR(running->Run());
  return running;
}

}  // namespace slmmesh
