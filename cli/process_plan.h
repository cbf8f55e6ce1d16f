// Which processes make up a manifest's mesh on one machine, and with which knobs: a pure function.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/tls.h"
#include "slmmesh/v1/cluster.pb.h"

namespace slmmesh {

struct ProcessSpec {
  std::string name;  // "head", "router-0", "cpu-1": the pod's name on Kubernetes
  Role role;
  std::vector<std::string> args;  // argv[0] is the program's name
};

struct PlanContext {
  std::string manifest_folder;  // relative model paths start here
  std::string run_folder;       // tls/<name>, addresses/<name>
  int cores = 1;
  std::string isa = "auto";
};

// The head first, then workers, then routers. The head's address is not known yet: workers and routers carry the
// argument kHeadAddress, which the supervisor replaces. INVALID_ARGUMENT for what one machine (or this version) lacks.
inline constexpr char kHeadAddress[] = "{head}";
absl::StatusOr<std::vector<ProcessSpec>> PlanProcesses(const v1::InferenceCluster& cluster, const PlanContext& context);

// Where a process writes what it listens on.
std::string AddressFile(const std::string& run_folder, const std::string& process);
std::string TlsFolder(const std::string& run_folder, const std::string& process);

}  // namespace slmmesh
