#include "operator/reconcile_threads.h"

#include <utility>

#include "absl/time/clock.h"
#include "common/log.h"

namespace slmmesh {
namespace {

constexpr char kComponent[] = "slm-mesh-operator";
constexpr absl::Duration kSyncPoll = absl::Milliseconds(10);
constexpr size_t kBurst = 64;  // more at once: then statuses would lag by too much

}  // namespace

ReconcileThreads::ReconcileThreads(Options options)
    : options_(std::move(options)),
      queue_(kube::WorkQueue::Create({})),
      tables_({[queue = queue_](const std::string& key) { queue->Add(key); }}),
      events_(kube::EventRecorder::Start(options_.client, kComponent)),
      reconciler_(OptionsOfReconciler()) {
  if (options_.adopt_rayclusters) {
    adopter_ = RayClusterAdopter::Start(options_.client, events_.get(), options_.watch_namespaces);
  }
}

Reconciler::Options ReconcileThreads::OptionsOfReconciler() {
  Reconciler::Options options;
  options.parts = {options_.client, options_.cache, options_.certificates, &tables_, events_.get(), options_.metrics};
  options.settings = options_.settings;
  options.is_burst = [queue = queue_] {
    const size_t waiting = queue->size();
    return waiting > 0 && waiting <= kBurst;
  };
  return options;
}

std::shared_ptr<ReconcileThreads> ReconcileThreads::Start(Options options) {
  const std::shared_ptr<ReconcileThreads> result(new ReconcileThreads(std::move(options)));
  ReconcileThreads* const self = result.get();
  const absl::MutexLock lock(&self->stop_mutex_);
  self->threads_.emplace_back([self] { self->WaitForCache(); });
  for (int i = 0; i < self->options_.threads; ++i) {
    self->threads_.emplace_back([self] { self->Work(); });
  }
  return result;
}

ReconcileThreads::~ReconcileThreads() { Stop(); }

void ReconcileThreads::Stop() {
  stopping_ = true;
  reconciler_.RequestStop();
  queue_->ShutDown();
  adopter_.reset();
  const absl::MutexLock lock(&stop_mutex_);
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void ReconcileThreads::WaitForCache() {
  while (!options_.synced() && !stopping_) absl::SleepFor(kSyncPoll);
  if (stopping_) return;
  const std::vector<std::string> keys = options_.cache->Keys();
  LogInfo("operator.cache_is_whole", {{"clusters", keys.size()}, {"pods", options_.cache->pods()}});
  for (const std::string& key : keys) queue_->Add(key);
}

void ReconcileThreads::Work() {
  while (const std::optional<std::string> key = queue_->Get()) {
    // An early change: its cluster comes again with all others once the cache is whole.
    if (options_.synced()) WorkOn(*key);
    queue_->Done(*key);
  }
}

void ReconcileThreads::WorkOn(const std::string& key) {
  const absl::Time start = absl::Now();
  const absl::StatusOr<absl::Duration> next = reconciler_.Reconcile(key);
  options_.metrics->Reconciled(absl::Now() - start, next.ok());
  if (!next.ok()) {
    if (absl::IsCancelled(next.status())) return;
    LogWarning("operator.pass_failed", {{"cluster", key}, {"reason", next.status()}});
    queue_->AddRateLimited(key);
    return;
  }
  queue_->Forget(key);
  if (*next == absl::ZeroDuration()) {
    queue_->Add(key);
  } else if (*next < absl::InfiniteDuration()) {
    queue_->AddAfter(key, *next);
  }
}

}  // namespace slmmesh
