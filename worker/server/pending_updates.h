// What a router has not read yet, joined into one message.
#pragma once

#include "absl/container/flat_hash_map.h"
#include "proto/block_hash.h"
#include "slmmesh/v1/worker.pb.h"

namespace slmmesh {

// Not thread-safe.
class PendingUpdates {
 public:
  // Outputs are appended, the load is replaced, and of each block only the last event counts: a reader may apply the
  // events of one message in any order.
  void Add(v1::SessionResponse update);
  bool empty() const { return empty_; }
  int num_outputs() const { return joined_.outputs_size(); }
  v1::SessionResponse Take();

 private:
  v1::SessionResponse joined_;  // block events: the reset alone
  absl::flat_hash_map<BlockHash, bool> is_stored_;
  bool empty_ = true;
};

}  // namespace slmmesh
