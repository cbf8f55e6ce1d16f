// The choice of a transport for one epoch of a group.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "worker/collective/communicator.h"
#include "worker/collective/group_key.h"
#include "worker/collective/tcp_communicator.h"

namespace slmmesh {

// Nothing for a group of one, shared memory when all ranks are on one host, else encrypted TCP. Blocks until all ranks
// are there, the join's deadline, or its cancellation. INVALID_ARGUMENT for a size that is not 1, 2, 4 or 8.
absl::StatusOr<std::unique_ptr<Communicator>> ConnectGroup(const GroupJoin& join, const TcpOptions& tcp);

}  // namespace slmmesh
