// The folder of one running mesh: certificates, addresses, logs, and state.json, which says what runs. Owner-only.
//   tls/<process>/{tls.crt,tls.key,ca.crt}   addresses/<process>   logs/<process>.log   state.json   lock
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace slmmesh {

struct ProcessState {
  std::string name;
  int pid = 0;  // 0: not running now
  int restarts = 0;
};

struct MeshState {
  std::string cluster;
  std::string manifest;
  std::string phase;  // starting | ready | stopping
  std::string model;  // served name
  std::string http;   // the first router's address, host:port
  std::string head;   // the head's gRPC address
  int supervisor_pid = 0;
  std::vector<ProcessState> processes;
};

// $MESH_RUN_DIR, else $XDG_RUNTIME_DIR/slm-mesh, else /tmp/slm-mesh-<uid>.
std::string RunRoot();
// Makes the folder (0700) if it is not there; refuses one that belongs to someone else.
absl::StatusOr<std::string> CreateRunFolder(const std::string& cluster);
// The folder of the mesh `cluster`; empty: the only one that runs. NOT_FOUND says what to do.
absl::StatusOr<std::string> FindRunFolder(const std::string& cluster);

absl::Status WriteState(const std::string& folder, const MeshState& state);
absl::StatusOr<MeshState> ReadState(const std::string& folder);
// key=value lines, as processes write them.
absl::StatusOr<std::map<std::string, std::string>> ReadAddressFile(const std::string& path);

// Held by the supervisor while it lives. FAILED_PRECONDITION when another holds it.
class RunLock {
 public:
  static absl::StatusOr<RunLock> Take(const std::string& folder);
  static bool IsHeld(const std::string& folder);
  RunLock(RunLock&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  RunLock& operator=(RunLock&&) = delete;
  ~RunLock();

 private:
  explicit RunLock(int fd) : fd_(fd) {}
  int fd_;
};

}  // namespace slmmesh
