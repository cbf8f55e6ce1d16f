// What the machine, or the container on it, gives this process.
#pragma once

#include <cstdint>
#include <string>

namespace slmmesh {

// Equal for two processes exactly when they see the same /dev/shm: the same boot and the same mount of it.
std::string HostId();
std::string HostName();
// Cores that this process may run on.
int UsableCores();
// Bytes that could still be allocated: what the kernel thinks available, and no more than the cgroup leaves.
uint64_t AvailableMemoryBytes();

}  // namespace slmmesh
