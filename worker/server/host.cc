#include "worker/server/host.h"

#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <optional>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/random.h"

namespace slmmesh {
namespace {

std::string FirstLine(const std::string& path) {
  std::string line;
  std::ifstream file(path);
  std::getline(file, line);
  return line;
}

// The number that follows `key` in a file of "key value" lines; absent where there is none ("max").
std::optional<int64_t> Number(const std::string& path, const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    absl::string_view rest = line;
    if (!absl::ConsumePrefix(&rest, key)) continue;
    absl::ConsumeSuffix(&rest, "kB");
    int64_t value = 0;
    if (absl::SimpleAtoi(rest, &value)) return value;
  }
  return std::nullopt;
}

// The folders whose limits hold for this process: its own cgroup's and those above it. In a container its own cgroup is
// the root of what it sees, though its path may be that on the node: then only the root of these exists.
// `controller`: "" for version 2.
std::vector<std::string> CgroupFolders(const std::string& root, const std::string& controller) {
  const std::string mount = absl::StrCat(root, "/sys/fs/cgroup", controller.empty() ? "" : "/", controller);
  std::string path;
  std::ifstream file(absl::StrCat(root, "/proc/self/cgroup"));
  for (std::string line; std::getline(file, line);) {  // 4:memory:/path, or 0::/path
    const std::vector<std::string> fields = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (fields.size() != 3) continue;
    const std::vector<std::string> controllers = absl::StrSplit(fields[1], ',');
    if (std::find(controllers.begin(), controllers.end(), controller) != controllers.end()) path = fields[2];
  }
  std::vector<std::string> folders = {mount};
  for (; path.size() > 1; path.resize(path.rfind('/'))) folders.push_back(mount + path);
  return folders;
}

// What is left under the limit of a cgroup folder; file pages that can be dropped count as left.
std::optional<int64_t> LeftInCgroup(const std::string& folder, const char* limit_file, const char* usage_file) {
  const std::optional<int64_t> limit = Number(absl::StrCat(folder, "/", limit_file), "");
  const std::optional<int64_t> usage = Number(absl::StrCat(folder, "/", usage_file), "");
  if (!limit.has_value() || !usage.has_value()) return std::nullopt;
  const std::string stat = absl::StrCat(folder, "/memory.stat");
  const int64_t droppable = Number(stat, "inactive_file ").value_or(0) + Number(stat, "active_file ").value_or(0);
  return std::max<int64_t>(0, *limit - std::max<int64_t>(0, *usage - droppable));
}

std::optional<double> CoresOf(std::optional<int64_t> quota_us, std::optional<int64_t> period_us) {
  if (!quota_us.has_value() || *quota_us <= 0 || period_us.value_or(0) <= 0) return std::nullopt;  // -1: no limit
  return static_cast<double>(*quota_us) / static_cast<double>(*period_us);
}

// cpu.max: "200000 100000", or "max 100000".
std::optional<double> CoresInCpuMax(const std::string& folder) {
  const std::vector<std::string> fields = absl::StrSplit(FirstLine(folder + "/cpu.max"), ' ');
  int64_t quota_us = 0, period_us = 0;
  if (fields.size() != 2 || !absl::SimpleAtoi(fields[0], &quota_us) || !absl::SimpleAtoi(fields[1], &period_us)) {
    return std::nullopt;
  }
  return CoresOf(quota_us, period_us);
}

}  // namespace

std::string HostId() {
  struct stat info = {};
  // Without /dev/shm there is nothing to share: equal to nobody.
  const std::string device = stat("/dev/shm", &info) == 0 ? absl::StrCat(info.st_dev) : RandomHexId();
  return absl::StrCat(FirstLine("/proc/sys/kernel/random/boot_id"), "/", device);
}

std::string HostName() {
  char name[256] = "localhost";
  gethostname(name, sizeof(name) - 1);
  return name;
}

int UsableCores() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return std::max(1u, std::thread::hardware_concurrency());
  return std::max(1, CPU_COUNT(&set));
}

std::optional<int> CoresOfContainer(const std::string& root) {
  std::optional<double> least;
  const auto note = [&least](std::optional<double> cores) {
    if (cores.has_value() && (!least.has_value() || *cores < *least)) least = cores;
  };
  for (const std::string& folder : CgroupFolders(root, "")) note(CoresInCpuMax(folder));
  for (const std::string& folder : CgroupFolders(root, "cpu")) {
    note(CoresOf(Number(folder + "/cpu.cfs_quota_us", ""), Number(folder + "/cpu.cfs_period_us", "")));
  }
  if (!least.has_value()) return std::nullopt;
  return std::max(1, static_cast<int>(*least));
}

uint64_t AvailableMemoryBytes(const std::string& root) {
  int64_t available = Number(root + "/proc/meminfo", "MemAvailable:").value_or(0) * 1024;
  for (const std::string& folder : CgroupFolders(root, "")) {
    available = std::min(available, LeftInCgroup(folder, "memory.max", "memory.current").value_or(available));
  }
  for (const std::string& folder : CgroupFolders(root, "memory")) {
    const auto left = LeftInCgroup(folder, "memory.limit_in_bytes", "memory.usage_in_bytes");
    available = std::min(available, left.value_or(available));
  }
  return static_cast<uint64_t>(available);
}

}  // namespace slmmesh
