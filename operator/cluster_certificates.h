// The operator as CA: issues and renews the certificates of each cluster's pods in the Secret <cluster>-tls.
//
// Secrets are fetched, created and patched by name, never listed or watched. What was issued is remembered (names and
// ends, no keys); after a restart the status says enough to plan with, and the Secret itself is fetched once, when
// something is to be written or when the CA may be another one than the certificates'.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "common/clock.h"
#include "operator/kube/client.h"
#include "operator/master_key.h"
#include "operator/observed.h"

namespace slmmesh {

// PEM texts by which the operator itself calls a cluster's head.
struct ClientPems {
  std::string cert, key, ca;
};

// Thread-safe; one thread at a time for each cluster (the work queue sees to that).
class ClusterCertificates {
 public:
  static absl::StatusOr<std::unique_ptr<ClusterCertificates>> Create(kube::Client* client, MasterKey master,
                                                                     absl::Duration lifetime, const Clock* clock);

  // Of the cluster and pods in `observed`. May fetch the Secret.
  ObservedCertificates Observe(const Observed& observed);
  // Makes the Secret hold a certificate for each of `pods` that lasts, and for no other.
  absl::Status Issue(const ObservedCluster& cluster, const std::vector<std::string>& pods);
  void Forget(const std::string& key);
  absl::StatusOr<ClientPems> IssueForOperator(const ObservedCluster& cluster) const;

 private:
  struct State {
    std::string uid;  // of the cluster
    bool exists = false;
    bool ca_is_current = true;
    std::string bundle;                           // ca.crt, where it holds more than the usual two
    std::map<std::string, absl::Time> not_after;  // by pod
  };

  ClusterCertificates(kube::Client* client, MasterKey master, std::string monitoring_ca, absl::Duration lifetime,
                      const Clock* clock)
      : client_(client),
        master_(std::move(master)),
        monitoring_ca_(std::move(monitoring_ca)),
        lifetime_(lifetime),
        clock_(*clock) {}

  absl::StatusOr<std::unique_ptr<CertificateAuthority>> AuthorityOf(const ObservedCluster& cluster) const;
  std::shared_ptr<State> Known(const ObservedCluster& cluster) const;
  void Remember(const ObservedCluster& cluster, std::shared_ptr<State> state);
  absl::StatusOr<std::shared_ptr<State>> Load(const ObservedCluster& cluster) const;
  absl::Status CreateSecret(const ObservedCluster& cluster, const std::vector<std::string>& pods);
  absl::Status PatchSecret(const ObservedCluster& cluster, const State& state, const std::vector<std::string>& pods);

  kube::Client* const client_;
  const MasterKey master_;
  const std::string monitoring_ca_;
  const absl::Duration lifetime_;
  const Clock& clock_;
  mutable absl::Mutex mutex_;
  std::map<std::string, std::shared_ptr<State>> states_ ABSL_GUARDED_BY(mutex_);  // by cluster key
};

// Which role a pod of this name has: only FreePodName's names of head and router are theirs.
Role RoleOfPodName(const ObservedCluster& cluster, const std::string& pod);

}  // namespace slmmesh
