#include "worker/collective/group_key.h"

#include "absl/strings/str_cat.h"
#include "common/files.h"

namespace slmmesh {

std::string GroupKey(const GroupJoin& join) {
  std::string text = absl::StrCat(join.group_id.size(), ":", join.group_id, ":", join.epoch);
  for (const GroupMember& member : join.members) absl::StrAppend(&text, ":", member.incarnation);
  return Sha256Hex({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}

}  // namespace slmmesh
