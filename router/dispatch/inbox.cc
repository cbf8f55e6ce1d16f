#include "router/dispatch/inbox.h"

#include <vector>

namespace slmmesh {

void Inbox::Add(uint64_t handle, const void* session, absl::Time deadline, OutputReceiver* receiver) {
  entries_[handle] = {session, deadline, receiver};
}

void Inbox::Remove(uint64_t handle) { entries_.erase(handle); }

void Inbox::Deliver(const v1::SessionResponse& message, absl::Time now) {
  for (const v1::TokenOutput& output : message.outputs()) {
    if (LoopOf(output.handle()) != loop_index_) continue;
    const auto it = entries_.find(output.handle());
    if (it != entries_.end()) it->second.receiver->OnOutput(output, now);
  }
}

template <typename Matches, typename Tell>
void Inbox::TellAll(Matches matches, Tell tell) {
  std::vector<uint64_t> handles;
  for (const auto& [handle, entry] : entries_) {
    if (matches(entry)) handles.push_back(handle);
  }
  for (uint64_t handle : handles) {  // one receiver's end may remove another
    const auto it = entries_.find(handle);
    if (it != entries_.end()) tell(it->second.receiver);
  }
}

void Inbox::Break(const void* session, const absl::Status& status) {
  TellAll([session](const Entry& entry) { return entry.session == session; },
          [&status](OutputReceiver* receiver) { receiver->OnBroken(status); });
}

void Inbox::Expire(absl::Time now) {
  TellAll([now](const Entry& entry) { return entry.deadline <= now; },
          [](OutputReceiver* receiver) { receiver->OnExpired(); });
}

}  // namespace slmmesh
