// What the ranks of one group's epoch say to each other. Implementations: local (size 1), shared memory (one host),
// encrypted TCP (between hosts). Every wait has a deadline; a dead peer, a deadline or Abort() makes every pending and
// later call return UNAVAILABLE or DEADLINE_EXCEEDED on this rank. One thread calls; Abort() comes from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"

namespace slmmesh {

class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;  // 1, 2, 4 or 8

  // Sums data over the ranks whose bit is set in `contributors` (the same mask on all ranks, not 0), in place, on every
  // rank: sum(lo, hi) = sum(lo, mid) + sum(mid, hi) over rank ranges, absent ranks left out. Element order is fixed, so
  // the bits are the same on every rank and for every transport. Non-contributors' data is ignored and overwritten.
  virtual absl::Status AllReduceSum(absl::Span<float> data, uint32_t contributors) = 0;

  // Rank 0's bytes reach every rank: rank 0 passes them, the others receive into *bytes. Followers wait up to
  // `timeout` (an idle group may wait long; a broken one is ended by Abort or by the peer's death).
  virtual absl::Status Broadcast(std::string* bytes, absl::Duration timeout) = 0;

  // Rank 0 receives all ranks' floats, concatenated by rank (counts[r] floats of rank r); `out` is used on rank 0 only.
  virtual absl::Status GatherToRoot(absl::Span<const float> local, absl::Span<const size_t> counts, float* out) = 0;

  // Ends all waits now, here; peers notice within their detection time.
  virtual void Abort(const std::string& reason) = 0;
};

}  // namespace slmmesh
