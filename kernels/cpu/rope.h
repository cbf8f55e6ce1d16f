#pragma once

#include "kernels/cpu/kernel_table.h"

namespace slmmesh::kernels {

// RopeStore for one token, row `token` of sequence `sequence`. Plain C++, the same bits on every instruction set.
void RopeStoreToken(const RopeStoreArgs& args, const KernelTable& kernels, int64_t sequence, int64_t token);

}  // namespace slmmesh::kernels
