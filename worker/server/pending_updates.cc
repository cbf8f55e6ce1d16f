#include "worker/server/pending_updates.h"

#include <utility>

namespace slmmesh {

void PendingUpdates::Add(v1::SessionResponse update) {
  empty_ = false;
  if (update.has_welcome()) *joined_.mutable_welcome() = std::move(*update.mutable_welcome());
  for (v1::TokenOutput& output : *update.mutable_outputs()) *joined_.add_outputs() = std::move(output);
  if (update.has_load()) *joined_.mutable_load() = std::move(*update.mutable_load());
  const v1::BlockEvents& events = update.block_events();
  if (events.reset()) {
    is_stored_.clear();
    joined_.mutable_block_events()->set_reset(true);
  }
  for (const BlockHash hash : events.evicted()) is_stored_[hash] = false;
  for (const BlockHash hash : events.stored()) is_stored_[hash] = true;
}

v1::SessionResponse PendingUpdates::Take() {
  v1::SessionResponse taken = std::exchange(joined_, {});
  for (const auto& [hash, is_stored] : is_stored_) {
    is_stored ? taken.mutable_block_events()->add_stored(hash) : taken.mutable_block_events()->add_evicted(hash);
  }
  is_stored_.clear();
  empty_ = true;
  return taken;
}

}  // namespace slmmesh
