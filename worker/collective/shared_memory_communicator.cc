#include "worker/collective/shared_memory_communicator.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <climits>
#include <cstring>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/status.h"
#include "worker/collective/epoch_guard.h"
#include "worker/collective/halving_sum.h"
#include "worker/collective/shared_region.h"

namespace slmmesh {
namespace {

using SteadyClock = std::chrono::steady_clock;
using TimePoint = SteadyClock::time_point;

// A step's collectives follow each other within microseconds, so a short spin catches nearly all of them; an idle group
// parks. A parked wait looks up this often for a death, an abort or its deadline.
constexpr std::chrono::microseconds kSpin(100);
// Past this, the spin gives the core away between two looks: where cores are short, the peer may need this very one.
constexpr std::chrono::microseconds kSpinAlone(20);
constexpr timespec kParkSlice = {0, 20'000'000};
constexpr uint64_t kMaxBroadcastBytes = 64 << 20;

void CpuRelax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

void FutexWait(std::atomic<uint32_t>& word, uint32_t seen) {
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAIT, seen, &kParkSlice, nullptr, 0);
}

void FutexWakeAll(std::atomic<uint32_t>& word) {
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

// Counters wrap; two ranks are never more than two collectives apart.
bool Reached(uint32_t published, uint32_t target) { return static_cast<int32_t>(published - target) >= 0; }

// Every collective is a run of rounds. In round k a rank
//   1. waits until all ranks published k: each has then read round k - 2, so buffer k % 2 may be written;
//   2. writes its chunk, if it has one to say, and publishes k + 1;
//   3. waits for the ranks whose chunks it needs to publish k + 1, and reads them.
// So one wait a round suffices, and a rank that only speaks (a broadcast's root) does not wait for its listeners.
class SharedMemoryCommunicator : public Communicator {
 public:
  SharedMemoryCommunicator(std::unique_ptr<SharedRegion> region, int rank, int size, absl::Duration operation_timeout)
      : region_(std::move(region)), rank_(rank), size_(size), operation_timeout_(operation_timeout) {}
  ~SharedMemoryCommunicator() override = default;  // unlocks this rank's byte: peers that still wait learn of it

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  absl::Status AllReduceSum(absl::Span<float> data, uint32_t contributors) override;
  absl::Status Broadcast(std::string* bytes, absl::Duration timeout) override;
  absl::Status GatherToRoot(absl::Span<const float> local, absl::Span<const size_t> counts, float* out) override;
  void Abort(const std::string& reason) override {
    (void)Fail(absl::UnavailableError(absl::StrCat("the group's epoch was ended here: ", reason)));
  }

 private:
  static constexpr size_t kChunkFloats = SharedRegion::kChunkBytes / sizeof(float);
  // A broadcast's chunk: how many bytes are left, this chunk's included, then the bytes.
  static constexpr size_t kBroadcastPayload = SharedRegion::kChunkBytes - sizeof(uint64_t);

  TimePoint Deadline(absl::Duration timeout) const {
    return SteadyClock::now() + absl::ToChronoNanoseconds(std::min(timeout, absl::Hours(24)));
  }
  char* OwnChunk() { return region_->Chunk(rank_, round_ % SharedRegion::kBuffers); }
  const char* PeerChunk(int peer) { return region_->Chunk(peer, round_ % SharedRegion::kBuffers); }
  SharedRank& Words(int rank) { return region_->header().ranks[rank]; }

  absl::Status BeginRound(TimePoint deadline) {
    RETURN_IF_ERROR(CheckEnded());
    return AwaitAll(round_, deadline);
  }
  void Publish();
  absl::Status AwaitAll(uint32_t target, TimePoint deadline);
  absl::Status Await(int peer, uint32_t target, TimePoint deadline);
  absl::Status Park(int peer, uint32_t target, TimePoint deadline);
  absl::Status FindBreak(uint32_t target, TimePoint deadline);
  absl::Status CheckEnded();
  absl::Status Fail(const absl::Status& status);
  absl::Status SendBytes(const std::string& bytes, TimePoint deadline);
  absl::Status ReceiveBytes(std::string* bytes, TimePoint deadline);

  const std::unique_ptr<SharedRegion> region_;
  const int rank_;
  const int size_;
  const absl::Duration operation_timeout_;
  uint32_t round_ = 0;
  EpochGuard guard_;
};

absl::Status SharedMemoryCommunicator::AllReduceSum(absl::Span<float> data, uint32_t contributors) {
  const TimePoint deadline = Deadline(operation_timeout_);
  for (size_t offset = 0; offset < data.size(); offset += kChunkFloats) {
    const size_t count = std::min(kChunkFloats, data.size() - offset);
    float* own = data.data() + offset;
    RETURN_IF_ERROR(BeginRound(deadline));
    if (contributors >> rank_ & 1) std::memcpy(OwnChunk(), own, count * sizeof(float));
    Publish();
    const float* parts[kMaxRanks] = {};
    for (int peer = 0; peer < size_; ++peer) {
      if ((contributors >> peer & 1) == 0) continue;
      RETURN_IF_ERROR(Await(peer, round_ + 1, deadline));
      parts[peer] = peer == rank_ ? own : reinterpret_cast<const float*>(PeerChunk(peer));
    }
    SumByHalving({parts, static_cast<size_t>(size_)}, count, own);
    ++round_;
  }
  return absl::OkStatus();
}

absl::Status SharedMemoryCommunicator::Broadcast(std::string* bytes, absl::Duration timeout) {
  if (rank_ != 0) return ReceiveBytes(bytes, Deadline(timeout));
  if (bytes->size() > kMaxBroadcastBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("broadcast of ", bytes->size(), " bytes: at most ", kMaxBroadcastBytes));
  }
  return SendBytes(*bytes, Deadline(std::min(timeout, operation_timeout_)));
}

absl::Status SharedMemoryCommunicator::SendBytes(const std::string& bytes, TimePoint deadline) {
  size_t offset = 0;
  do {
    const uint64_t left = bytes.size() - offset;
    const size_t count = std::min<size_t>(left, kBroadcastPayload);
    RETURN_IF_ERROR(BeginRound(deadline));
    std::memcpy(OwnChunk(), &left, sizeof(left));
    std::memcpy(OwnChunk() + sizeof(left), bytes.data() + offset, count);
    Publish();
    ++round_;
    offset += count;
  } while (offset < bytes.size());
  return absl::OkStatus();
}

absl::Status SharedMemoryCommunicator::ReceiveBytes(std::string* bytes, TimePoint deadline) {
  bytes->clear();
  while (true) {
    Publish();
    RETURN_IF_ERROR(Await(0, round_ + 1, deadline));
    uint64_t left = 0;
    std::memcpy(&left, PeerChunk(0), sizeof(left));
    if (left > kMaxBroadcastBytes) return Fail(absl::InternalError("shared memory: a broadcast's length is damaged"));
    const size_t count = std::min<size_t>(left, kBroadcastPayload);
    bytes->append(PeerChunk(0) + sizeof(left), count);
    ++round_;
    if (count == left) return absl::OkStatus();
  }
}

absl::Status SharedMemoryCommunicator::GatherToRoot(absl::Span<const float> local, absl::Span<const size_t> counts,
                                                    float* out) {
  const TimePoint deadline = Deadline(operation_timeout_);
  size_t starts[kMaxRanks] = {};
  for (int rank = 1; rank < size_; ++rank) starts[rank] = starts[rank - 1] + counts[rank - 1];
  if (rank_ == 0) std::copy(local.begin(), local.end(), out);
  const size_t longest = *std::max_element(counts.begin(), counts.end());
  for (size_t offset = 0; offset < longest; offset += kChunkFloats) {
    const auto chunk_of = [&](int rank) {
      return counts[rank] <= offset ? 0 : std::min(kChunkFloats, counts[rank] - offset);
    };
    RETURN_IF_ERROR(BeginRound(deadline));
    if (rank_ != 0 && chunk_of(rank_) != 0)
      std::memcpy(OwnChunk(), local.data() + offset, chunk_of(rank_) * sizeof(float));
    Publish();
    for (int peer = 1; rank_ == 0 && peer < size_; ++peer) {
      if (chunk_of(peer) == 0) continue;
      RETURN_IF_ERROR(Await(peer, round_ + 1, deadline));
      std::memcpy(out + starts[peer] + offset, PeerChunk(peer), chunk_of(peer) * sizeof(float));
    }
    ++round_;
  }
  return absl::OkStatus();
}

void SharedMemoryCommunicator::Publish() {
  SharedRank& words = Words(rank_);
  words.published.store(round_ + 1, std::memory_order_seq_cst);
  if (words.waiters.load(std::memory_order_seq_cst) != 0) FutexWakeAll(words.published);
}

absl::Status SharedMemoryCommunicator::AwaitAll(uint32_t target, TimePoint deadline) {
  for (int peer = 0; peer < size_; ++peer) {
    if (peer != rank_) RETURN_IF_ERROR(Await(peer, target, deadline));
  }
  return absl::OkStatus();
}

absl::Status SharedMemoryCommunicator::Await(int peer, uint32_t target, TimePoint deadline) {
  const std::atomic<uint32_t>& published = Words(peer).published;
  if (guard_.ended()) return guard_.status();
  if (Reached(published.load(std::memory_order_acquire), target)) return absl::OkStatus();
  const TimePoint start = SteadyClock::now();
  for (TimePoint now = start; now < start + kSpin; now = SteadyClock::now()) {
    for (int i = 0; i < 32; ++i) {
      if (Reached(published.load(std::memory_order_acquire), target)) return absl::OkStatus();
      CpuRelax();
    }
    if (now >= start + kSpinAlone) std::this_thread::yield();
  }
  return Park(peer, target, deadline);
}

absl::Status SharedMemoryCommunicator::Park(int peer, uint32_t target, TimePoint deadline) {
  SharedRank& words = Words(peer);
  while (true) {
    const absl::Status broken = FindBreak(target, deadline);
    words.waiters.fetch_add(1, std::memory_order_seq_cst);
    const uint32_t seen = words.published.load(std::memory_order_seq_cst);
    const bool reached = Reached(seen, target);
    if (!reached && broken.ok()) FutexWait(words.published, seen);
    words.waiters.fetch_sub(1, std::memory_order_seq_cst);
    if (reached) return absl::OkStatus();
    if (!broken.ok()) return Fail(broken);
  }
}

// Why a wait for `target` cannot be met. A rank that published it and then left has kept its word, so the lock is asked
// before the counter.
absl::Status SharedMemoryCommunicator::FindBreak(uint32_t target, TimePoint deadline) {
  RETURN_IF_ERROR(CheckEnded());
  for (int peer = 0; peer < size_; ++peer) {
    if (peer == rank_ || region_->IsAlive(peer)) continue;
    if (!Reached(Words(peer).published.load(std::memory_order_seq_cst), target)) {
      return absl::UnavailableError(absl::StrCat("rank ", peer, " is gone"));
    }
  }
  if (SteadyClock::now() >= deadline) return absl::DeadlineExceededError("a rank did not answer in time");
  return absl::OkStatus();
}

absl::Status SharedMemoryCommunicator::CheckEnded() {
  if (guard_.ended()) return guard_.status();
  if (region_->header().ended.load(std::memory_order_acquire) != 0) {
    return guard_.End(absl::UnavailableError("the group's epoch was ended by another rank"));
  }
  return absl::OkStatus();
}

absl::Status SharedMemoryCommunicator::Fail(const absl::Status& status) {
  const absl::Status first = guard_.End(status);
  region_->header().ended.store(1, std::memory_order_release);
  for (int rank = 0; rank < size_; ++rank) FutexWakeAll(Words(rank).published);
  return first;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Communicator>> ConnectSharedMemory(const GroupJoin& join) {
  ASSIGN_OR_RETURN(std::unique_ptr<SharedRegion> region, SharedRegion::Join(join));
  return std::make_unique<SharedMemoryCommunicator>(std::move(region), join.rank, join.size(), join.operation_timeout);
}

}  // namespace slmmesh
