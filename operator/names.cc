#include "operator/names.h"

#include "absl/strings/str_cat.h"
#include "common/mix.h"

namespace slmmesh {
namespace {

constexpr size_t kMaxHostName = 63;
constexpr size_t kLongestTail = 20;  // -r4294967295-9999-b and a little

// Names that differ stay different when they are cut.
std::string Shorten(const std::string& name, size_t limit) {
  if (name.size() <= limit) return name;
  return absl::StrCat(name.substr(0, limit - 9), "-", HashText(name).substr(0, 8));
}

std::string Suffix(size_t attempt) {
  if (attempt == 0) return "";
  if (attempt < 26) return absl::StrCat("-", std::string(1, static_cast<char>('a' + attempt)));
  return absl::StrCat("-z", attempt);
}

std::string KindOfPod(const PodPlace& place) {
  if (place.role != PodRole::kWorker) return PodRoleName(place.role);
  const bool is_reserved = place.worker_group == "head" || place.worker_group == "router";
  return is_reserved ? absl::StrCat("worker-", place.worker_group) : place.worker_group;
}

}  // namespace

std::string ClusterIdentity(const ObservedCluster& cluster) { return absl::StrCat(cluster.name, ".", cluster.ns); }
std::string TlsSecretName(const ObservedCluster& cluster) { return absl::StrCat(cluster.name, "-tls"); }
std::string HeadServiceName(const ObservedCluster& cluster) { return absl::StrCat(cluster.name, "-head"); }
std::string RouterServiceName(const ObservedCluster& cluster) { return cluster.name; }

std::string HeadAddress(const ObservedCluster& cluster) {
  return absl::StrCat(HeadServiceName(cluster), ".", cluster.ns, ".svc:", kHeadPort);
}

std::string DisruptionBudgetName(const ObservedCluster& cluster, const std::string& worker_group) {
  return absl::StrCat(cluster.name, "-", worker_group);
}

const char* PodRoleName(PodRole role) {
  switch (role) {
    case PodRole::kHead:
      return "head";
    case PodRole::kRouter:
      return "router";
    case PodRole::kWorker:
      return "worker";
  }
  return "";
}

std::string FreePodName(const ObservedCluster& cluster, const PodPlace& place, const std::set<std::string>& taken) {
  const std::string stem = Shorten(absl::StrCat(cluster.name, "-", KindOfPod(place)), kMaxHostName - kLongestTail);
  const std::string base = absl::StrCat(stem, "-r", place.revision, "-", place.slot);
  for (size_t attempt = 0;; ++attempt) {  // ends: `taken` is finite
    std::string name = base + Suffix(attempt);
    if (taken.count(name) == 0) return name;
  }
}

std::string HashText(const std::string& text) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return absl::StrCat(absl::Hex(Mix64(hash), absl::kZeroPad16));
}

}  // namespace slmmesh
