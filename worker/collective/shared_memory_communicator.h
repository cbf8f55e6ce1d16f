// Ranks on one host: a vector a rank in shared memory, one barrier by sequence counters a chunk.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "worker/collective/communicator.h"
#include "worker/collective/group_key.h"

namespace slmmesh {

// Returns when all ranks are attached. Each rank is a process of its own (or, in tests, a thread).
absl::StatusOr<std::unique_ptr<Communicator>> ConnectSharedMemory(const GroupJoin& join);

}  // namespace slmmesh
