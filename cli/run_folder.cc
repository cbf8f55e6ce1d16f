#include "cli/run_folder.h"

#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/files.h"
#include "common/status.h"

namespace slmmesh {
namespace {

std::string LockPath(const std::string& folder) { return folder + "/lock"; }

absl::Status MakeOwnFolder(const std::string& path) {
  if (mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
    return absl::UnavailableError(absl::StrCat(path, ": cannot create: ", strerror(errno)));
  }
  struct stat info;
  if (lstat(path.c_str(), &info) != 0 || !S_ISDIR(info.st_mode) || info.st_uid != geteuid()) {
    return absl::PermissionDeniedError(
        absl::StrCat(path, ": not a folder of this user; remove it or set MESH_RUN_DIR"));
  }
  if (chmod(path.c_str(), 0700) != 0) {
    return absl::UnavailableError(absl::StrCat(path, ": cannot make it private: ", strerror(errno)));
  }
  return absl::OkStatus();
}

}  // namespace

std::string RunRoot() {
  if (const char* folder = getenv("MESH_RUN_DIR"); folder != nullptr && *folder != '\0') return folder;
  if (const char* folder = getenv("XDG_RUNTIME_DIR"); folder != nullptr && *folder != '\0') {
    return absl::StrCat(folder, "/slm-mesh");
  }
  return absl::StrCat("/tmp/slm-mesh-", geteuid());
}

absl::StatusOr<std::string> CreateRunFolder(const std::string& cluster) {
  const std::string folder = absl::StrCat(RunRoot(), "/", cluster);
  for (const std::string& path : {RunRoot(), folder, folder + "/tls", folder + "/addresses", folder + "/logs"}) {
    RETURN_IF_ERROR(MakeOwnFolder(path));
  }
  return folder;
}

absl::StatusOr<std::string> FindRunFolder(const std::string& cluster) {
  std::vector<std::string> running;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(RunRoot(), ignored)) {
    const std::string folder = entry.path().string();
    if (!cluster.empty() && entry.path().filename() != cluster) continue;
    if (RunLock::IsHeld(folder)) running.push_back(folder);
  }
  if (running.empty()) {
    return absl::NotFoundError(absl::StrCat("no mesh", cluster.empty() ? "" : absl::StrCat(" named ", cluster),
                                            " runs under ", RunRoot(), "; start one with: mesh up -f FILE"));
  }
  if (running.size() > 1) {
    return absl::FailedPreconditionError(
        absl::StrCat("several meshes run (", absl::StrJoin(running, ", "), "); choose one with --name"));
  }
  return running[0];
}

absl::Status WriteState(const std::string& folder, const MeshState& state) {
  nlohmann::json json = {{"cluster", state.cluster},
                         {"manifest", state.manifest},
                         {"phase", state.phase},
                         {"model", state.model},
                         {"http", state.http},
                         {"head", state.head},
                         {"supervisorPid", state.supervisor_pid},
                         {"processes", nlohmann::json::array()}};
  for (const ProcessState& process : state.processes) {
    json["processes"].push_back({{"name", process.name}, {"pid", process.pid}, {"restarts", process.restarts}});
  }
  return WriteFileAtomic(folder + "/state.json", json.dump(2) + "\n", 0600);
}

absl::StatusOr<MeshState> ReadState(const std::string& folder) {
  const std::string path = folder + "/state.json";
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  const nlohmann::json json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object()) return absl::InvalidArgumentError(path + ": not JSON; run mesh down and mesh up again");
  MeshState state;
  state.cluster = json.value("cluster", "");
  state.manifest = json.value("manifest", "");
  state.phase = json.value("phase", "");
  state.model = json.value("model", "");
  state.http = json.value("http", "");
  state.head = json.value("head", "");
  state.supervisor_pid = json.value("supervisorPid", 0);
  for (const auto& process : json.value("processes", nlohmann::json::array())) {
    state.processes.push_back({process.value("name", ""), process.value("pid", 0), process.value("restarts", 0)});
  }
  return state;
}

absl::StatusOr<std::map<std::string, std::string>> ReadAddressFile(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  std::map<std::string, std::string> addresses;
  for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    const std::pair<std::string, std::string> entry = absl::StrSplit(line, absl::MaxSplits('=', 1));
    addresses.insert(entry);
  }
  return addresses;
}

absl::StatusOr<RunLock> RunLock::Take(const std::string& folder) {
  const int fd = open(LockPath(folder).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return absl::UnavailableError(absl::StrCat(LockPath(folder), ": ", strerror(errno)));
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    close(fd);
    return absl::FailedPreconditionError(
        absl::StrCat("a mesh of this name already runs (", folder, "); stop it with: mesh down"));
  }
  return RunLock(fd);
}

bool RunLock::IsHeld(const std::string& folder) {
  const int fd = open(LockPath(folder).c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) return false;
  const bool held = flock(fd, LOCK_EX | LOCK_NB) != 0;
  close(fd);
  return held;
}

RunLock::~RunLock() {
  if (fd_ >= 0) close(fd_);
}

}  // namespace slmmesh
