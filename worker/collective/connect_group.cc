#include "worker/collective/connect_group.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "worker/collective/local_communicator.h"
#include "worker/collective/shared_memory_communicator.h"

namespace slmmesh {

absl::StatusOr<std::unique_ptr<Communicator>> ConnectGroup(const GroupJoin& join, const TcpOptions& tcp) {
  const int size = join.size();
  if ((size != 1 && size != 2 && size != 4 && size != 8) || join.rank < 0 || join.rank >= size) {
    return absl::InvalidArgumentError(
        absl::StrCat("rank ", join.rank, " of ", size, ": a group has 1, 2, 4 or 8 ranks"));
  }
  if (size == 1) return CreateLocalCommunicator();
  const bool one_host = std::all_of(join.members.begin(), join.members.end(), [&](const GroupMember& member) {
    return member.host_id == join.members[0].host_id;
  });
  return one_host ? ConnectSharedMemory(join) : ConnectTcp(join, tcp);
}

}  // namespace slmmesh
