#include "operator/kube/lease.h"

#include <atomic>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/random.h"
#include "common/status.h"
#include "nlohmann/json.hpp"
#include "operator/kube/lease_record.h"

namespace slmmesh::kube {
namespace {

// Two threads: one talks to the API server, which may hang; the other calls on_started and on_stopped, in time whatever
// the first is waiting for, and however long they take the lease is renewed.
class LeaseElector : public LeaderElector {
 public:
  LeaseElector(Client* client, Options options)
      : client_(client), options_(std::move(options)), ref_{resources::kLeases, options_.ns, options_.name, ""} {
    renewer_ = std::thread([this] { RenewUntilEnd(); });
    caller_ = std::thread([this] { CallUntilStop(); });
  }

  ~LeaseElector() override {
    Set(stop_);
    caller_.join();
    Set(end_);
    renewer_.join();
    Release();
  }

  bool is_leader() const override {
    const absl::MutexLock lock(&mutex_);
    return !stop_ && LeadsNow();
  }

  std::string leader() const override {
    const absl::MutexLock lock(&mutex_);
    return holder_;
  }

 private:
  void Set(bool& flag) ABSL_LOCKS_EXCLUDED(mutex_) {
    const absl::MutexLock lock(&mutex_);
    flag = true;
    changed_.SignalAll();
  }

  bool LeadsNow() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return leads_ && Clock::Real().Now() < renewed_at_ + options_.renew_deadline;
  }

  void CallUntilStop() {
    bool told = false;
    while (true) {
      bool leads = false;
      {
        const absl::MutexLock lock(&mutex_);
        while (!stop_ && LeadsNow() == told) {
          if (told) {
            changed_.WaitWithTimeout(&mutex_, renewed_at_ + options_.renew_deadline - Clock::Real().Now());
          } else {
            changed_.Wait(&mutex_);
          }
        }
        leads = !stop_ && LeadsNow();
        if (leads == told) return;
      }
      told = leads;
      LogInfo(leads ? "kube.leading" : "kube.no_longer_leading", {{"lease", options_.name}});
      const std::function<void()>& callback = leads ? options_.on_started : options_.on_stopped;
      if (callback) callback();
    }
  }

  void RenewUntilEnd() {
    while (true) {
      if (absl::Status status = TryOnce(); !status.ok()) {
        LogWarning("kube.lease", {{"lease", options_.name}, {"reason", status}});
      }
      const absl::MutexLock lock(&mutex_);
      const double random = static_cast<double>(RandomUint64() % 1024) / 1024;
      const absl::Time next = Clock::Real().Now() + options_.retry_period * (1 + random / 5);
      while (!end_ && Clock::Real().Now() < next) {
        changed_.WaitWithTimeout(&mutex_, next - Clock::Real().Now());
      }
      if (end_) return;
    }
  }

  // Takes or renews the lease if it may. Who leads needs one call: the object is as it left it.
  absl::Status TryOnce() {
    if (!lease_.is_object()) RETURN_IF_ERROR(Fetch());
    const absl::Time now = Clock::Real().Now();  // before the request: the lease counts from here
    if (lease_.is_object()) {
      view_.Observe(ParseLease(lease_), now);
      Note(view_.record().holder);
      if (view_.Decide(options_.identity, now) == LeaseMove::kWait) {
        lease_ = nullptr;  // look again next time
        return absl::OkStatus();
      }
    }
    absl::StatusOr<nlohmann::json> written = Write(now);
    lease_ = nullptr;
    if (absl::IsAborted(written.status()) || absl::IsAlreadyExists(written.status())) return absl::OkStatus();
    if (!written.ok()) return written.status();
    lease_ = *std::move(written);
    view_.Observe(ParseLease(lease_), now);
    NoteRenewed(now);
    return absl::OkStatus();
  }

  absl::Status Fetch() {
    absl::StatusOr<nlohmann::json> lease = client_->Get(ref_);
    if (absl::IsNotFound(lease.status())) return absl::OkStatus();
    if (!lease.ok()) return lease.status();
    lease_ = *std::move(lease);
    return absl::OkStatus();
  }

  absl::StatusOr<nlohmann::json> Write(absl::Time now) {
    if (lease_.is_object()) {
      return client_->Update(ref_, WithHolder(lease_, options_.identity, options_.lease_duration, now));
    }
    const nlohmann::json fresh = {{"apiVersion", "coordination.k8s.io/v1"},
                                  {"kind", "Lease"},
                                  {"metadata", {{"name", options_.name}, {"namespace", options_.ns}}}};
    return client_->Create(ref_, WithHolder(fresh, options_.identity, options_.lease_duration, now));
  }

  void Note(const std::string& holder) {
    const absl::MutexLock lock(&mutex_);
    holder_ = holder;
    if (holder == options_.identity || !leads_) return;
    leads_ = false;
    changed_.SignalAll();
  }

  void NoteRenewed(absl::Time now) {
    const absl::MutexLock lock(&mutex_);
    holder_ = options_.identity;
    leads_ = true;
    renewed_at_ = now;
    changed_.SignalAll();
  }

  // After both threads. A conflict means that somebody wrote since: looked at once more.
  void Release() {
    for (int tries = 0; tries < 2; ++tries) {
      if (!lease_.is_object() && !Fetch().ok()) return;
      if (!lease_.is_object() || ParseLease(lease_).holder != options_.identity) return;
      const absl::StatusOr<nlohmann::json> written = client_->Update(ref_, Released(lease_, Clock::Real().Now()));
      if (written.ok()) return;
      lease_ = nullptr;
    }
    LogWarning("kube.lease_not_released", {{"lease", options_.name}});
  }

  Client* const client_;
  const Options options_;
  const ObjectRef ref_;

  // Of the renewer, then of the destructor.
  nlohmann::json lease_;  // as the server has it; null: not known
  LeaseView view_;

  mutable absl::Mutex mutex_;
  absl::CondVar changed_;
  bool leads_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Time renewed_at_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  std::string holder_ ABSL_GUARDED_BY(mutex_);
  bool stop_ = false;  // guarded by mutex_: for the caller
  bool end_ = false;   // guarded by mutex_: for the renewer

  std::thread renewer_;
  std::thread caller_;
};

}  // namespace

std::unique_ptr<LeaderElector> LeaderElector::Start(Client* client, Options options) {
  return std::make_unique<LeaseElector>(client, std::move(options));
}

}  // namespace slmmesh::kube
