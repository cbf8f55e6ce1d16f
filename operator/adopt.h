// RayClusters of KubeRay (ray.io/v1) that carry the label slmmesh.io/adopt=true become InferenceClusters of the same
// name. The RayCluster itself is only read: what became of it, and what is missing, is told by events on it.
//
// An annotation of the RayCluster says what it cannot: slmmesh.io/model-path, slmmesh.io/served-name,
// slmmesh.io/tensor-parallel-size. Once made, the InferenceCluster is its own: it follows changes of the RayCluster's
// spec, but not its deletion, and a field that somebody else has set since is left to them.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "nlohmann/json.hpp"
#include "operator/kube/client.h"
#include "operator/kube/events.h"
#include "operator/kube/informer.h"
#include "operator/kube/work_queue.h"

namespace slmmesh {

inline constexpr char kAdoptLabel[] = "slmmesh.io/adopt";
inline constexpr char kAdoptedFromAnnotation[] = "slmmesh.io/adopted-from";  // on the InferenceCluster: uid/generation

struct Adoption {
  nlohmann::json cluster;          // the InferenceCluster to apply; null: it cannot be made yet
  std::vector<std::string> notes;  // what has no meaning here
  std::string missing;             // why it cannot be made yet, and what to write
};
// Pure. INVALID_ARGUMENT names field and fix.
absl::StatusOr<Adoption> ConvertRayCluster(const nlohmann::json& ray_cluster);

// Watches and adopts from Start() until its end. Thread-safe.
class RayClusterAdopter {
 public:
  static std::unique_ptr<RayClusterAdopter> Start(kube::Client* client, kube::EventRecorder* events,
                                                  const std::vector<std::string>& namespaces);
  ~RayClusterAdopter();

 private:
  RayClusterAdopter(kube::Client* client, kube::EventRecorder* events);
  void Work();
  absl::Status Adopt(const nlohmann::json& ray_cluster);

  kube::Client* const client_;
  kube::EventRecorder* const events_;
  const std::unique_ptr<kube::WorkQueue> queue_;
  absl::Mutex mutex_;
  std::map<std::string, std::string> ray_clusters_ ABSL_GUARDED_BY(mutex_);  // by key: JSON, without managed fields
  std::vector<std::unique_ptr<kube::Reflector>> reflectors_;
  std::thread thread_;
};

}  // namespace slmmesh
