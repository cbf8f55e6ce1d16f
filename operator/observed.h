// What planning reads: one cluster as the API server and its head show it. Plain values, small: the caches keep these
// instead of the API's objects.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "slmmesh/v1/cluster.pb.h"
#include "slmmesh/v1/head.pb.h"

namespace slmmesh {

// Labels and annotations of everything the operator makes.
inline constexpr char kManagedByLabel[] = "app.kubernetes.io/managed-by";  // = slm-mesh
inline constexpr char kManagedBy[] = "slm-mesh";
inline constexpr char kClusterLabel[] = "slmmesh.io/cluster";
inline constexpr char kRoleLabel[] = "slmmesh.io/role";  // head | router | worker
inline constexpr char kWorkerGroupLabel[] = "slmmesh.io/worker-group";
inline constexpr char kRevisionLabel[] = "slmmesh.io/revision";          // Revision.number
inline constexpr char kSlotLabel[] = "slmmesh.io/slot";                  // 0, 1, …: the pod's place among its like
inline constexpr char kHashLabel[] = "slmmesh.io/hash";                  // of what the pod was made from (revision.h)
inline constexpr char kRollbackAnnotation[] = "slmmesh.io/rollback-to";  // on the cluster: a number of status.history
inline constexpr char kPausedAnnotation[] = "slmmesh.io/paused";         // on the cluster: "true": plan nothing
inline constexpr char kFieldManager[] = "slm-mesh-operator";

enum class PodRole { kHead, kRouter, kWorker };

enum class PodPhase { kPending, kRunning, kSucceeded, kFailed, kUnknown };

struct ObservedPod {
  std::string name;
  std::string uid;
  PodRole role = PodRole::kWorker;
  std::string worker_group;  // of workers
  uint32_t revision = 0;
  std::string hash;  // kHashLabel: decides what the pod is of; the revision's number is for people
  uint32_t slot = 0;
  PodPhase phase = PodPhase::kPending;
  bool ready = false;
  bool terminating = false;  // has a deletionTimestamp
  bool scheduled = false;
  std::string node;
  std::string ip;  // of heads: where the table is read
  uint32_t restarts = 0;
  // Why it does not run, in plain words ("image x cannot be pulled: not found", "no node has enough memory"); empty: it
  // does, or it is too early to say.
  std::string trouble;
  absl::Time created;
};

// A Service or PodDisruptionBudget: `hash` is OwnedHash (objects.h) of the object as it stands now, so that
// another's change shows.
struct ObservedObject {
  std::string name;
  std::string hash;
  std::string uid;
};

// The Secret <cluster>-tls. Its keys are <pod>.crt, <pod>.key and ca.crt; each pod mounts its own two and the CA.
struct ObservedCertificates {
  bool exists = false;
  bool ca_is_current = true;                                  // false: the operator's CA key is another one now
  std::vector<std::pair<std::string, absl::Time>> not_after;  // by pod name, sorted
};

struct ObservedCluster {
  std::string ns, name, uid;
  uint32_t generation = 0;
  bool deleting = false;
  absl::Time created;
  std::vector<std::pair<std::string, std::string>> annotations;  // slmmesh.io/* only
  absl::Status spec_status;                                      // not OK: the spec cannot be served; why
  v1::InferenceClusterSpec spec;      // with defaults (proto/manifest.h); templates as written
  google::protobuf::Struct raw_spec;  // as applied, for the history
  v1::InferenceClusterStatus status;  // as last written
};

struct Observed {
  ObservedCluster cluster;
  std::vector<ObservedPod> pods;  // sorted by name
  std::vector<ObservedObject> services;
  std::vector<ObservedObject> disruption_budgets;
  ObservedCertificates certificates;
  // The head's table; null: not reachable (it starts, or it is gone): nothing that needs its word goes on.
  std::shared_ptr<const v1::ClusterTable> table;
};

// What the operator itself was started with.
struct OperatorSettings {
  std::string version;
  std::string head_image, router_image, worker_image;  // of new revisions whose templates name none
  std::string image_pull_policy = "IfNotPresent";
  absl::Duration certificate_lifetime = absl::Hours(24);  // renewed after two thirds
};

}  // namespace slmmesh
