#pragma once

#include <cstdint>

#include "kernels/cpu/kernel_table.h"

namespace slmmesh::kernels {

int64_t NowNanoseconds();

// From how many rows on a product is faster by kernels.rows than by tiles: tried out on one panel in the cache, in less
// than a few milliseconds; nothing but speed depends on it. A table does it where it is made, so once a process.
int64_t MeasureLeastRows(const IntegerKernels& kernels, int64_t (*now)() = NowNanoseconds);

}  // namespace slmmesh::kernels
