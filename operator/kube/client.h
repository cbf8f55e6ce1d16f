// The Kubernetes API over HTTPS: any resource, as JSON. Blocking calls on pooled keep-alive connections; thread-safe.
// Every call has a deadline. Errors are the API server's own: code by HTTP status (404 NOT_FOUND, 409 ABORTED for a
// conflict and ALREADY_EXISTS for a name taken, 410 OUT_OF_RANGE, 422 INVALID_ARGUMENT, 403 PERMISSION_DENIED,
// 429 RESOURCE_EXHAUSTED, 5xx and broken connections UNAVAILABLE, no answer in time DEADLINE_EXCEEDED), message by its
// Status object. A 429 or 503 that names a time to wait is waited for and tried again while the deadline allows.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "nlohmann/json_fwd.hpp"
#include "operator/kube/config.h"

namespace slmmesh::kube {

// A kind of object. group "" is the core group.
struct Resource {
  std::string group;    // "apps"
  std::string version;  // "v1"
  std::string plural;   // "pods"
  std::string kind;     // "Pod"
  bool namespaced = true;
};

// One object's place. `subresource`: "status", "scale", "eviction"; empty: the object itself.
struct ObjectRef {
  Resource resource;
  std::string ns;
  std::string name;
  std::string subresource;
};

struct ListOptions {
  std::string ns;  // empty: all namespaces
  std::string label_selector;
  std::string field_selector;
  int page_size = 250;
  // List only. An expired continue token makes it start over: what was visited so far counts no more.
  std::function<void()> started_over;
  // List only. Once it returns true, List ends with CANCELLED within a second.
  std::function<bool()> cancelled;
};

struct DeleteOptions {
  int grace_seconds = -1;  // -1: the object's own
  std::string uid;         // only if it is still this object
  std::string propagation = "Background";
};

enum class WatchEventType { kAdded, kModified, kDeleted, kBookmark };

struct ClientStats {
  uint64_t requests = 0;
  uint64_t failures = 0;
};

class Client {
 public:
  struct Options {
    Config config;
    int max_connections = 32;
    absl::Duration request_timeout = absl::Seconds(30);
    std::string user_agent = "slm-mesh";
    double queries_per_second = 0;  // of writes and gets; 0: what the server lets through
  };
  static absl::StatusOr<std::unique_ptr<Client>> Create(Options options);
  virtual ~Client() = default;

  virtual absl::StatusOr<nlohmann::json> Get(const ObjectRef& ref) = 0;
  // Page by page, so that no list is held whole; `visit` sees each item. Returns the list's resourceVersion.
  virtual absl::StatusOr<std::string> List(const Resource& resource, const ListOptions& options,
                                           const std::function<void(const nlohmann::json& item)>& visit) = 0;
  virtual absl::StatusOr<nlohmann::json> Create(const ObjectRef& ref, const nlohmann::json& object) = 0;
  virtual absl::StatusOr<nlohmann::json> Update(const ObjectRef& ref, const nlohmann::json& object) = 0;
  // Server-side apply with this field manager; `force` takes over fields of others.
  virtual absl::StatusOr<nlohmann::json> Apply(const ObjectRef& ref, const nlohmann::json& object,
                                               const std::string& field_manager, bool force) = 0;
  virtual absl::StatusOr<nlohmann::json> MergePatch(const ObjectRef& ref, const nlohmann::json& patch) = 0;
  virtual absl::Status Delete(const ObjectRef& ref, const DeleteOptions& options) = 0;
  // Any path, for what is not an object: /version, /readyz.
  virtual absl::StatusOr<std::string> GetRaw(const std::string& path) = 0;

  // Blocks until the server ends the watch (OK; it does so every few minutes), it breaks, or `cancelled` turns true
  // (CANCELLED, within a second). OUT_OF_RANGE: resource_version is too old, list again.
  virtual absl::Status Watch(const Resource& resource, const ListOptions& options, const std::string& resource_version,
                             const std::function<void(WatchEventType type, const nlohmann::json& object)>& visit,
                             const std::function<bool()>& cancelled) = 0;

  virtual ClientStats stats() const = 0;
};

// The resources that this project touches.
namespace resources {
extern const Resource kPods, kServices, kSecrets, kEvents, kNodes, kNamespaces, kLeases, kPodDisruptionBudgets,
    kInferenceClusters, kRayClusters, kCustomResourceDefinitions, kConfigMaps;
}

}  // namespace slmmesh::kube
