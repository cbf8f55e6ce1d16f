// How everything of a cluster is called, and which ports its programs listen on. Pure.
#pragma once

#include <cstdint>
#include <set>
#include <string>

#include "operator/observed.h"

namespace slmmesh {

inline constexpr int kHeadPort = 7070;
inline constexpr int kHeadAdminPort = 7071;
inline constexpr int kWorkerPort = 7072;
inline constexpr int kWorkerExchangePort = 7073;
inline constexpr int kWorkerAdminPort = 7074;
inline constexpr int kRouterHttpPort = 8080;
inline constexpr int kRouterGrpcPort = 8081;
inline constexpr int kRouterAdminPort = 8082;

inline constexpr char kTlsFolderInPod[] = "/etc/slm-mesh/tls";

// What a cluster is called in certificates: two namespaces may have clusters of one name.
std::string ClusterIdentity(const ObservedCluster& cluster);  // demo.team-a

std::string TlsSecretName(const ObservedCluster& cluster);      // demo-tls
std::string HeadServiceName(const ObservedCluster& cluster);    // demo-head
std::string RouterServiceName(const ObservedCluster& cluster);  // demo
std::string HeadAddress(const ObservedCluster& cluster);        // demo-head.team-a.svc:7070
std::string DisruptionBudgetName(const ObservedCluster& cluster, const std::string& worker_group);  // demo-cpu

const char* PodRoleName(PodRole role);  // head | router | worker

// A place that a pod can take. Pods of one place differ in their names' suffix alone.
struct PodPlace {
  PodRole role = PodRole::kWorker;
  std::string worker_group;  // of workers
  uint32_t revision = 0;
  uint32_t slot = 0;
};
// demo-cpu-r1-0, or with -b, -c, … the first that is not in `taken`. At most 63 characters, so that it is a host name.
std::string FreePodName(const ObservedCluster& cluster, const PodPlace& place, const std::set<std::string>& taken);

// 16 hex digits of a 64-bit hash of `text` (FNV-1a, mixed). It ends up in labels: it never changes.
std::string HashText(const std::string& text);

}  // namespace slmmesh
