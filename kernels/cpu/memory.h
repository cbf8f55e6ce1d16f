// Zeroed pages from the kernel, aligned to at least kAlignment.
#pragma once

#include <cstddef>

namespace slmmesh::kernels {

// Null when there is none. Thread-safe.
void* AllocatePages(size_t bytes);
void FreePages(void* pointer);

}  // namespace slmmesh::kernels
