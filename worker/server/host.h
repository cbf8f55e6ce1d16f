// What the machine, or the container on it, gives this process. `root` is where /proc and /sys stand: empty but in
// tests.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace slmmesh {

// Equal for two processes exactly when they can share memory: the same boot of a kernel and the same mount of /dev/shm.
// Every container of a pod has the pod's own /dev/shm, a tmpfs with a device number of its own (unless hostIPC is asked
// for), so two pods on one node differ and speak TCP. Only stat() is called: nothing is written.
std::string HostId();
std::string HostName();
// Cores that this process may run on.
int UsableCores();
// Whole cores of CPU time that the cgroup allows, at least 1; absent: it sets no limit. A started core counts for none:
// threads that wait for each other would be throttled together.
std::optional<int> CoresOfContainer(const std::string& root = "");
// Bytes that could still be allocated: what the kernel thinks available, and no more than the cgroups leave.
uint64_t AvailableMemoryBytes(const std::string& root = "");

}  // namespace slmmesh
