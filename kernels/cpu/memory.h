// Zeroed memory from the kernel, in huge pages where it grants them, aligned to kAlignment.
#pragma once

#include <cstddef>

namespace slmmesh::kernels {

// Null when there is none. Thread-safe.
void* AllocatePages(size_t bytes);
void FreePages(void* pointer);
// Touches every page of these bytes, and changes none. On kernels before Linux 5.14 it does nothing.
void PopulatePages(void* pointer, size_t bytes);

}  // namespace slmmesh::kernels
