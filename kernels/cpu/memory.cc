#include "kernels/cpu/memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <mutex>
#include <new>

#include "kernels/backend.h"

namespace slmmesh::kernels {
namespace {

constexpr size_t kHugePageBytes = size_t{2} << 20;
constexpr size_t kRegionBytes = size_t{32} << 20;

// One mapping, of huge pages where the kernel grants them; stands at its own start. Small buffers share one, or each
// would end in small pages: most matrices of a small model are below 2 MB, and its steps took a quarter longer so.
// Memory is handed out once, in ascending order, so it is zeroed.
struct Region {
  void* mapping;
  size_t mapping_bytes;
  size_t end;   // address
  size_t next;  // address of what is not handed out yet
  int64_t live;
};

// Stands right below the pointer handed out.
struct alignas(kAlignment) Header {
  Region* region;
};

std::mutex mutex;
Region* shared = nullptr;  // that small buffers are taken from

Region* MapRegion(size_t bytes) {
  if (bytes > SIZE_MAX - 2 * kHugePageBytes) return nullptr;
  const size_t mapping_bytes = bytes + kHugePageBytes;
  void* mapping = mmap(nullptr, mapping_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) return nullptr;
  const size_t start = (reinterpret_cast<size_t>(mapping) + kHugePageBytes - 1) / kHugePageBytes * kHugePageBytes;
  madvise(reinterpret_cast<void*>(start), bytes, MADV_HUGEPAGE);  // a wish: small pages serve too
  return new (reinterpret_cast<void*>(start)) Region{mapping, mapping_bytes, start + bytes, start + kAlignment, 0};
}

}  // namespace

void* AllocatePages(size_t bytes) {
  static_assert(sizeof(Region) <= kAlignment && sizeof(Header) == kAlignment);
  if (bytes > SIZE_MAX - 2 * kHugePageBytes) return nullptr;
  const size_t needed = sizeof(Header) + (bytes + kAlignment - 1) / kAlignment * kAlignment;
  const std::lock_guard lock(mutex);
  const bool is_small = needed <= kRegionBytes / 4;
  Region* region = is_small ? shared : nullptr;
  if (region == nullptr || region->end - region->next < needed) {
    region = MapRegion(is_small ? kRegionBytes : kAlignment + needed);
    if (region == nullptr) return nullptr;
    if (is_small) shared = region;
  }
  ++region->live;
  Header* header = new (reinterpret_cast<void*>(region->next)) Header{region};
  region->next += needed;
  return header + 1;
}

void FreePages(void* pointer) {
  if (pointer == nullptr) return;
  Region* region = (static_cast<Header*>(pointer) - 1)->region;
  const std::lock_guard lock(mutex);
  if (--region->live > 0) return;
  if (region == shared) shared = nullptr;
  munmap(region->mapping, region->mapping_bytes);
}

void PopulatePages(void* pointer, size_t bytes) {
  const size_t page = static_cast<size_t>(getpagesize());
  const size_t start = reinterpret_cast<size_t>(pointer) / page * page;
  const size_t end = reinterpret_cast<size_t>(pointer) + bytes;
  madvise(reinterpret_cast<void*>(start), end - start, MADV_POPULATE_WRITE);  // a wish
}

}  // namespace slmmesh::kernels
