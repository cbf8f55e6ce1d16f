#include "operator/counting_client.h"

#include <string>
#include <utility>

#include "nlohmann/json.hpp"

namespace slmmesh {
namespace {

using nlohmann::json;

class CountingClient : public kube::Client {
 public:
  CountingClient(std::unique_ptr<kube::Client> client, OperatorMetrics* metrics)
      : client_(std::move(client)), metrics_(*metrics) {}

  absl::StatusOr<json> Get(const kube::ObjectRef& ref) override { return Count("get", ref, client_->Get(ref)); }
  absl::StatusOr<std::string> List(const kube::Resource& resource, const kube::ListOptions& options,
                                   const std::function<void(const json& item)>& visit) override {
    return Count("list", {resource, "", "", ""}, client_->List(resource, options, visit));
  }
  absl::StatusOr<json> Create(const kube::ObjectRef& ref, const json& object) override {
    return Count("create", ref, client_->Create(ref, object));
  }
  absl::StatusOr<json> Update(const kube::ObjectRef& ref, const json& object) override {
    return Count("update", ref, client_->Update(ref, object));
  }
  absl::StatusOr<json> Apply(const kube::ObjectRef& ref, const json& object, const std::string& field_manager,
                             bool force) override {
    return Count("apply", ref, client_->Apply(ref, object, field_manager, force));
  }
  absl::StatusOr<json> MergePatch(const kube::ObjectRef& ref, const json& patch) override {
    return Count("patch", ref, client_->MergePatch(ref, patch));
  }
  absl::Status Delete(const kube::ObjectRef& ref, const kube::DeleteOptions& options) override {
    const absl::Status status = client_->Delete(ref, options);
    metrics_.Called("delete", ref.resource.plural, status.ok());
    return status;
  }
  absl::StatusOr<std::string> GetRaw(const std::string& path) override { return client_->GetRaw(path); }
  absl::Status Watch(const kube::Resource& resource, const kube::ListOptions& options,
                     const std::string& resource_version,
                     const std::function<void(kube::WatchEventType type, const json& object)>& visit,
                     const std::function<bool()>& cancelled) override {
    metrics_.Called("watch", resource.plural, true);
    return client_->Watch(resource, options, resource_version, visit, cancelled);
  }
  kube::ClientStats stats() const override { return client_->stats(); }

 private:
  template <typename T>
  absl::StatusOr<T> Count(const char* verb, const kube::ObjectRef& ref, absl::StatusOr<T> result) {
    std::string resource = ref.resource.plural;
    if (!ref.subresource.empty()) resource += "/" + ref.subresource;
    metrics_.Called(verb, resource, result.ok());
    return result;
  }

  const std::unique_ptr<kube::Client> client_;
  OperatorMetrics& metrics_;
};

}  // namespace

std::unique_ptr<kube::Client> MakeCountingClient(std::unique_ptr<kube::Client> client, OperatorMetrics* metrics) {
  return std::make_unique<CountingClient>(std::move(client), metrics);
}

}  // namespace slmmesh
