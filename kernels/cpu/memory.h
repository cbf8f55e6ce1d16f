// Zeroed memory from the kernel, in huge pages where it grants them, aligned to kAlignment.
#pragma once

#include <cstddef>

namespace slmmesh::kernels {

// Null when there is none. Thread-safe.
void* AllocatePages(size_t bytes);
void FreePages(void* pointer);

}  // namespace slmmesh::kernels
