#pragma once

#include <cstdint>

#include "kernels/backend.h"

namespace slmmesh::kernels {

// Backend::PackPanel for every CPU: fp32 [N / 64][K][64], bf16 [N / 64][K / 2][64][2].
void PackWeightPanel(WeightType type, const float* rows_f32, int64_t rows, int64_t panel, int64_t k, void* packed);

}  // namespace slmmesh::kernels
