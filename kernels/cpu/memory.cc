#include "kernels/cpu/memory.h"

#include <sys/mman.h>

#include <cstdint>

#include "kernels/backend.h"

namespace slmmesh::kernels {
namespace {

constexpr size_t kHugePageBytes = size_t{2} << 20;

// Stands right below the pointer handed out, in the slack that alignment leaves.
struct Header {
  void* mapping;
  size_t mapping_bytes;
};

}  // namespace

void* AllocatePages(size_t bytes) {
  const bool huge = bytes >= kHugePageBytes;
  const size_t alignment = huge ? kHugePageBytes : static_cast<size_t>(kAlignment);
  if (bytes > SIZE_MAX - 2 * alignment) return nullptr;
  const size_t mapping_bytes = bytes + 2 * alignment;
  void* mapping = mmap(nullptr, mapping_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) return nullptr;
  const uintptr_t start = (reinterpret_cast<uintptr_t>(mapping) + 2 * alignment - 1) / alignment * alignment;
  if (huge) madvise(reinterpret_cast<void*>(start), bytes, MADV_HUGEPAGE);  // a wish: small pages serve too
  *reinterpret_cast<Header*>(start - sizeof(Header)) = {mapping, mapping_bytes};
  return reinterpret_cast<void*>(start);
}

void FreePages(void* pointer) {
  if (pointer == nullptr) return;
  const Header header = *reinterpret_cast<Header*>(reinterpret_cast<uintptr_t>(pointer) - sizeof(Header));
  munmap(header.mapping, header.mapping_bytes);
}

}  // namespace slmmesh::kernels
