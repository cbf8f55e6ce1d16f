#include "operator/testing/fake_client.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status.h"

namespace slmmesh {

using nlohmann::json;

absl::Status FakeClient::Begin(const std::string& verb, const kube::ObjectRef& ref) {
  std::string call =
      absl::StrCat(verb, " ", ref.resource.plural, ref.subresource.empty() ? "" : "/", ref.subresource, " ", ref.name);
  const absl::Status status = failure_ ? failure_(call) : absl::OkStatus();
  calls_.push_back(std::move(call));
  return status;
}

json FakeClient::Store(const std::string& key, json object) {
  object["metadata"]["resourceVersion"] = absl::StrCat(++version_);
  if (!object["metadata"].contains("uid")) object["metadata"]["uid"] = absl::StrCat("uid-", version_);
  return objects_[key] = std::move(object);
}

absl::StatusOr<json> FakeClient::Get(const kube::ObjectRef& ref) {
  const absl::MutexLock lock(&mutex_);
  RETURN_IF_ERROR(Begin("get", ref));
  const auto found = objects_.find(KeyOf(ref));
  if (found == objects_.end()) return absl::NotFoundError(KeyOf(ref));
  return found->second;
}

absl::StatusOr<json> FakeClient::Create(const kube::ObjectRef& ref, const json& object) {
  const absl::MutexLock lock(&mutex_);
  RETURN_IF_ERROR(Begin("create", ref));
  if (objects_.count(KeyOf(ref)) != 0) return absl::AlreadyExistsError(KeyOf(ref));
  return Store(KeyOf(ref), object);
}

absl::StatusOr<json> FakeClient::Apply(const kube::ObjectRef& ref, const json& object, const std::string&, bool force) {
  const absl::MutexLock lock(&mutex_);
  RETURN_IF_ERROR(Begin(force ? "force" : "apply", ref));
  json merged = objects_[KeyOf(ref)];
  merged.merge_patch(object);
  return Store(KeyOf(ref), std::move(merged));
}

absl::StatusOr<json> FakeClient::MergePatch(const kube::ObjectRef& ref, const json& patch) {
  const absl::MutexLock lock(&mutex_);
  RETURN_IF_ERROR(Begin("patch", ref));
  const auto found = objects_.find(KeyOf(ref));
  if (found == objects_.end()) return absl::NotFoundError(KeyOf(ref));
  json merged = found->second;
  merged.merge_patch(patch);
  if (patch.contains("spec")) merged["metadata"]["generation"] = merged["metadata"].value("generation", 1) + 1;
  return Store(KeyOf(ref), std::move(merged));
}

absl::Status FakeClient::Delete(const kube::ObjectRef& ref, const kube::DeleteOptions& options) {
  const absl::MutexLock lock(&mutex_);
  RETURN_IF_ERROR(Begin("delete", ref));
  const auto found = objects_.find(KeyOf(ref));
  if (found == objects_.end()) return absl::NotFoundError(KeyOf(ref));
  if (!options.uid.empty() && found->second["metadata"]["uid"] != options.uid) return absl::AbortedError("another uid");
  objects_.erase(found);
  return absl::OkStatus();
}

std::vector<std::string> FakeClient::TakeCalls() {
  const absl::MutexLock lock(&mutex_);
  return std::exchange(calls_, {});
}

void FakeClient::FailWhen(std::function<absl::Status(const std::string&)> failure) {
  const absl::MutexLock lock(&mutex_);
  failure_ = std::move(failure);
}

json* FakeClient::Find(const std::string& plural, const std::string& name) {
  const absl::MutexLock lock(&mutex_);
  const auto found = objects_.find(plural + "/" + name);
  return found == objects_.end() ? nullptr : &found->second;
}

json FakeClient::Put(const kube::Resource& resource, json object) {
  const absl::MutexLock lock(&mutex_);
  const std::string key = absl::StrCat(resource.plural, "/", object["metadata"]["name"].get<std::string>());
  return Store(key, std::move(object));
}

}  // namespace slmmesh
