#include "worker/server/host.h"

#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <optional>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace slmmesh {
namespace {

std::string FirstLine(const std::string& path) {
  std::string line;
  std::ifstream file(path);
  std::getline(file, line);
  return line;
}

// The number that follows `key` in a file of "key value" lines; absent where there is none ("max").
std::optional<uint64_t> Number(const std::string& path, const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    absl::string_view rest = line;
    if (!absl::ConsumePrefix(&rest, key)) continue;
    absl::ConsumeSuffix(&rest, "kB");
    uint64_t value = 0;
    if (absl::SimpleAtoi(rest, &value)) return value;
  }
  return std::nullopt;
}

// What is left under the limit of a cgroup folder; file pages that can be dropped count as left.
std::optional<uint64_t> LeftInCgroup(const std::string& folder, const std::string& limit_file,
                                     const std::string& usage_file) {
  const std::optional<uint64_t> limit = Number(absl::StrCat(folder, "/", limit_file), "");
  const std::optional<uint64_t> usage = Number(absl::StrCat(folder, "/", usage_file), "");
  if (!limit.has_value() || !usage.has_value()) return std::nullopt;
  const uint64_t droppable = Number(absl::StrCat(folder, "/memory.stat"), "inactive_file ").value_or(0);
  const uint64_t used = *usage - std::min(*usage, droppable);
  return *limit - std::min(*limit, used);
}

}  // namespace

std::string HostId() {
  struct stat info = {};
  stat("/dev/shm", &info);
  return absl::StrCat(FirstLine("/proc/sys/kernel/random/boot_id"), "/", info.st_dev);
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

uint64_t AvailableMemoryBytes() {
  uint64_t available = Number("/proc/meminfo", "MemAvailable:").value_or(0) * 1024;
  // Inside a container the process's own cgroup is the root of what it sees; on a plain host its path is below it.
  std::string own = FirstLine("/proc/self/cgroup");
  own = absl::StartsWith(own, "0::") ? own.substr(3) : "";
  for (const std::string& folder : {std::string("/sys/fs/cgroup"), absl::StrCat("/sys/fs/cgroup", own)}) {
    available = std::min(available, LeftInCgroup(folder, "memory.max", "memory.current").value_or(available));
  }
  const std::optional<uint64_t> version1 =
      LeftInCgroup("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes");
  return std::min(available, version1.value_or(available));
}

}  // namespace slmmesh
