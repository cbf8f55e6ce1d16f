#include "tests/fuzz/allocation_meter.h"

#include <malloc.h>
#include <stdlib.h>

#include <algorithm>
#include <atomic>
#include <new>

namespace slmmesh {
namespace {

std::atomic<size_t> live_bytes{0};
std::atomic<size_t> peak_live_bytes{0};

void* Allocate(size_t size) {
  void* memory = malloc(size);
  if (memory == nullptr) abort();  // an allocation that cannot be met is what these tests look for
  const size_t live = live_bytes += malloc_usable_size(memory);
  peak_live_bytes = std::max<size_t>(peak_live_bytes, live);
  return memory;
}

void Free(void* memory) {
  if (memory != nullptr) live_bytes -= malloc_usable_size(memory);
  free(memory);
}

}  // namespace

AllocationMeter::AllocationMeter() : start_bytes_(live_bytes) { peak_live_bytes = start_bytes_; }

size_t AllocationMeter::peak_bytes() const { return peak_live_bytes - start_bytes_; }

}  // namespace slmmesh

void* operator new(size_t size) { return slmmesh::Allocate(size); }
void operator delete(void* memory) noexcept { slmmesh::Free(memory); }
void operator delete(void* memory, size_t) noexcept { slmmesh::Free(memory); }
