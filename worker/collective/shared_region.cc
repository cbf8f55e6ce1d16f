#include "worker/collective/shared_region.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <thread>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "common/status.h"

namespace slmmesh {
namespace {

constexpr char kMagic[8] = {'s', 'l', 'm', 'm', 'e', 's', 'h', '1'};
constexpr size_t kDataOffset = 4096;
static_assert(sizeof(SharedHeader) <= kDataOffset);

size_t RegionBytes(int size) {
  return kDataOffset + static_cast<size_t>(size) * SharedRegion::kBuffers * SharedRegion::kChunkBytes;
}

absl::Status SystemError(const std::string& what) {
  return absl::UnavailableError(absl::StrCat("shared memory: ", what, ": ", std::strerror(errno)));
}

struct flock LockOfByte(int rank) {
  struct flock lock = {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = rank;
  lock.l_len = 1;
  return lock;
}

// Polls `done` until it holds, the join is cancelled, or its time is over.
template <typename Done>
absl::Status PollUntil(const GroupJoin& join, const std::string& what, Done done) {
  const auto deadline = std::chrono::steady_clock::now() + absl::ToChronoNanoseconds(join.join_timeout);
  auto pause = std::chrono::microseconds(200);
  while (!done()) {
    if (join.IsCancelled()) return absl::CancelledError("joining the group was cancelled");
    if (std::chrono::steady_clock::now() >= deadline) {
      return absl::DeadlineExceededError(
          absl::StrCat("shared memory: ", what, " did not come within ", absl::FormatDuration(join.join_timeout)));
    }
    std::this_thread::sleep_for(pause);
    pause = std::min(pause * 2, std::chrono::microseconds(10'000));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<SharedRegion>> SharedRegion::Join(const GroupJoin& join) {
  const std::string name = absl::StrCat("/slmmesh-", GroupKey(join).substr(0, 40));
  // Whoever gives up takes the name along, so a rank that died half-way leaves no memory behind.
  absl::Cleanup unlink = [&name] { shm_unlink(name.c_str()); };
  std::unique_ptr<SharedRegion> region;
  if (join.rank == 0) {
    ASSIGN_OR_RETURN(region, CreateNamed(name, join));
  } else {
    absl::Status failure;
    RETURN_IF_ERROR(PollUntil(join, "rank 0's region", [&] {
      auto opened = OpenNamed(name, join);
      if (absl::IsNotFound(opened.status())) return false;
      failure = opened.status();
      if (opened.ok()) region = *std::move(opened);
      return true;
    }));
    RETURN_IF_ERROR(failure);
    RETURN_IF_ERROR(region->LockOwnByte(join.rank));
  }
  region->header().ranks[join.rank].attached.store(1, std::memory_order_release);
  RETURN_IF_ERROR(region->WaitUntilComplete(join));
  if (join.rank != 0) std::move(unlink).Cancel();  // rank 0 unlinked it: the name is not ours any more
  return region;
}

absl::StatusOr<std::unique_ptr<SharedRegion>> SharedRegion::CreateNamed(const std::string& name,
                                                                        const GroupJoin& join) {
  shm_unlink(name.c_str());  // what an earlier try of this very epoch may have left
  const int fd = shm_open(name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) return SystemError("create");
  // Reserved at once: a full file system is an error here and not a crash at the first write.
  if (const int error = posix_fallocate(fd, 0, static_cast<off_t>(RegionBytes(join.size()))); error != 0) {
    errno = error;
    const absl::Status status = SystemError("reserve");
    close(fd);
    return status;
  }
  ASSIGN_OR_RETURN(std::unique_ptr<SharedRegion> region, Map(fd, RegionBytes(join.size())));
  SharedHeader& header = region->header();  // a new region is all zeros
  std::memcpy(header.magic, kMagic, sizeof(kMagic));
  std::memcpy(header.key, GroupKey(join).data(), sizeof(header.key));
  header.size = static_cast<uint32_t>(join.size());
  header.chunk_bytes = kChunkBytes;
  RETURN_IF_ERROR(region->LockOwnByte(0));  // before anybody can look whether rank 0 is alive
  header.initialized.store(1, std::memory_order_release);
  return region;
}

absl::StatusOr<std::unique_ptr<SharedRegion>> SharedRegion::OpenNamed(const std::string& name, const GroupJoin& join) {
  const int fd = shm_open(name.c_str(), O_RDWR | O_CLOEXEC, 0);
  if (fd < 0) return errno == ENOENT ? absl::NotFoundError("not created yet") : SystemError("open");
  struct stat info = {};
  fstat(fd, &info);
  if (info.st_uid != geteuid() || (info.st_mode & 0077) != 0) {
    close(fd);
    return absl::FailedPreconditionError("shared memory: the region belongs to another user or is open to others");
  }
  if (static_cast<size_t>(info.st_size) != RegionBytes(join.size())) {  // rank 0 has not reserved it yet
    close(fd);
    return absl::NotFoundError("not sized yet");
  }
  ASSIGN_OR_RETURN(std::unique_ptr<SharedRegion> region, Map(fd, RegionBytes(join.size())));
  const SharedHeader& header = region->header();
  if (header.initialized.load(std::memory_order_acquire) == 0) return absl::NotFoundError("not initialized yet");
  if (std::memcmp(header.magic, kMagic, sizeof(kMagic)) != 0 ||
      std::memcmp(header.key, GroupKey(join).data(), sizeof(header.key)) != 0 ||
      header.size != static_cast<uint32_t>(join.size()) || header.chunk_bytes != kChunkBytes) {
    return absl::FailedPreconditionError("shared memory: the region is of another epoch or program version");
  }
  return region;
}

absl::StatusOr<std::unique_ptr<SharedRegion>> SharedRegion::Map(int fd, size_t bytes) {
  void* base = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (base == MAP_FAILED) {
    const absl::Status status = SystemError("map");
    close(fd);
    return status;
  }
  return std::unique_ptr<SharedRegion>(new SharedRegion(fd, base, bytes));
}

SharedRegion::~SharedRegion() {
  munmap(header_, bytes_);
  close(fd_);  // drops the lock
}

char* SharedRegion::Chunk(int rank, uint32_t buffer) {
  const size_t index = static_cast<size_t>(rank) * kBuffers + buffer;
  return reinterpret_cast<char*>(header_) + kDataOffset + index * kChunkBytes;
}

absl::Status SharedRegion::LockOwnByte(int rank) {
  struct flock lock = LockOfByte(rank);
  if (fcntl(fd_, F_OFD_SETLK, &lock) == 0) return absl::OkStatus();
  return SystemError(absl::StrCat("rank ", rank, " is taken"));
}

bool SharedRegion::IsAlive(int rank) const {
  struct flock lock = LockOfByte(rank);
  return fcntl(fd_, F_OFD_GETLK, &lock) != 0 || lock.l_type != F_UNLCK;
}

absl::Status SharedRegion::WaitUntilComplete(const GroupJoin& join) {
  if (join.rank != 0) {
    bool alive = true;
    RETURN_IF_ERROR(PollUntil(join, "the last of the ranks", [&] {
      alive = IsAlive(0);
      return header_->complete.load(std::memory_order_acquire) != 0 || !alive;
    }));
    if (header_->complete.load(std::memory_order_acquire) == 0) {
      return absl::UnavailableError("shared memory: rank 0 is gone");
    }
    return absl::OkStatus();
  }
  for (int rank = 0; rank < join.size(); ++rank) {
    RETURN_IF_ERROR(PollUntil(join, absl::StrCat("rank ", rank),
                              [&] { return header_->ranks[rank].attached.load(std::memory_order_acquire) != 0; }));
  }
  shm_unlink(absl::StrCat("/slmmesh-", GroupKey(join).substr(0, 40)).c_str());
  header_->complete.store(1, std::memory_order_release);
  return absl::OkStatus();
}

}  // namespace slmmesh
