// A Kubernetes client whose API server is a map, for tests of what acts: it counts calls and fails where told to.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "nlohmann/json.hpp"
#include "operator/kube/client.h"

namespace slmmesh {

// Thread-safe.
class FakeClient : public kube::Client {
 public:
  absl::StatusOr<nlohmann::json> Get(const kube::ObjectRef& ref) override;
  absl::StatusOr<std::string> List(const kube::Resource&, const kube::ListOptions&,
                                   const std::function<void(const nlohmann::json& item)>&) override {
    return absl::UnimplementedError("List");
  }
  absl::StatusOr<nlohmann::json> Create(const kube::ObjectRef& ref, const nlohmann::json& object) override;
  absl::StatusOr<nlohmann::json> Update(const kube::ObjectRef&, const nlohmann::json&) override {
    return absl::UnimplementedError("Update");
  }
  // As a merge: enough for one manager that always sends the same fields.
  absl::StatusOr<nlohmann::json> Apply(const kube::ObjectRef& ref, const nlohmann::json& object,
                                       const std::string& field_manager, bool force) override;
  absl::StatusOr<nlohmann::json> MergePatch(const kube::ObjectRef& ref, const nlohmann::json& patch) override;
  absl::Status Delete(const kube::ObjectRef& ref, const kube::DeleteOptions& options) override;
  absl::StatusOr<std::string> GetRaw(const std::string&) override { return absl::UnimplementedError("GetRaw"); }
  absl::Status Watch(const kube::Resource&, const kube::ListOptions&, const std::string&,
                     const std::function<void(kube::WatchEventType type, const nlohmann::json& object)>&,
                     const std::function<bool()>&) override {
    return absl::UnimplementedError("Watch");
  }
  kube::ClientStats stats() const override { return {}; }

  // "create pods demo-head-r1-0", in the order they came; empties the list. A forced apply is "force".
  std::vector<std::string> TakeCalls();
  // The error of a call; OK: it is carried out. Gets what TakeCalls would show.
  void FailWhen(std::function<absl::Status(const std::string& call)> failure);
  nlohmann::json* Find(const std::string& plural, const std::string& name);
  // Puts an object there as if somebody else had; returns it with uid and resourceVersion.
  nlohmann::json Put(const kube::Resource& resource, nlohmann::json object);

 private:
  absl::Status Begin(const std::string& verb, const kube::ObjectRef& ref);
  nlohmann::json Store(const std::string& key, nlohmann::json object);
  static std::string KeyOf(const kube::ObjectRef& ref) { return ref.resource.plural + "/" + ref.name; }

  absl::Mutex mutex_;
  std::map<std::string, nlohmann::json> objects_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> calls_ ABSL_GUARDED_BY(mutex_);
  std::function<absl::Status(const std::string&)> failure_ ABSL_GUARDED_BY(mutex_);
  int version_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace slmmesh
