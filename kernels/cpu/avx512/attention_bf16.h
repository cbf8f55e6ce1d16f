#pragma once

#include "kernels/cpu/attention_task.h"

namespace slmmesh::kernels {

// Over bf16 or int8 caches, where vdpbf16ps exists.
AttentionKernels Avx512Bf16Attention(KvType type);

}  // namespace slmmesh::kernels
