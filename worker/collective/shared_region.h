// The memory that the ranks of one epoch on one host share, and who is still there to use it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/collective/group_key.h"
#include "worker/collective/halving_sum.h"

namespace slmmesh {

// One rank's words, alone on their cache line. `published` and `waiters` are the two halves of a futex.
struct alignas(64) SharedRank {
  std::atomic<uint32_t> published;  // k + 1: all collectives before k are read here, and k's data is written
  std::atomic<uint32_t> waiters;    // threads parked on `published`
  std::atomic<uint32_t> attached;
};

struct SharedHeader {
  char magic[8];
  char key[64];
  uint32_t size;
  uint32_t chunk_bytes;
  std::atomic<uint32_t> initialized;  // rank 0 wrote the fields above
  std::atomic<uint32_t> complete;     // all ranks are attached
  std::atomic<uint32_t> ended;        // some rank gave the epoch up
  SharedRank ranks[kMaxRanks];
};
static_assert(std::atomic<uint32_t>::is_always_lock_free);

// A mapping of the region by one rank. The name is unlinked when all ranks are attached, so nothing is left behind
// whatever dies later. A rank holds a file lock on its own byte: the kernel drops it with the process, which is how
// the others learn of a death, across process namespaces and without mistaking a reused process id.
class SharedRegion {
 public:
  static constexpr uint32_t kChunkBytes = 128 << 10;
  static constexpr int kBuffers = 2;

  static absl::StatusOr<std::unique_ptr<SharedRegion>> Join(const GroupJoin& join);
  ~SharedRegion();
  SharedRegion(const SharedRegion&) = delete;
  SharedRegion& operator=(const SharedRegion&) = delete;

  SharedHeader& header() { return *header_; }
  char* Chunk(int rank, uint32_t buffer);
  bool IsAlive(int rank) const;  // false for a rank that left, too; not for this one

 private:
  SharedRegion(int fd, void* base, size_t bytes) : fd_(fd), header_(static_cast<SharedHeader*>(base)), bytes_(bytes) {}
  static absl::StatusOr<std::unique_ptr<SharedRegion>> CreateNamed(const std::string& name, const GroupJoin& join);
  static absl::StatusOr<std::unique_ptr<SharedRegion>> OpenNamed(const std::string& name, const GroupJoin& join);
  static absl::StatusOr<std::unique_ptr<SharedRegion>> Map(int fd, size_t bytes);
  absl::Status LockOwnByte(int rank);
  absl::Status WaitUntilComplete(const GroupJoin& join);

  const int fd_;
  SharedHeader* const header_;
  const size_t bytes_;
};

}  // namespace slmmesh
