#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/backend.h"

namespace slmmesh::kernels {

size_t PackedWeightBytes(const WeightFormat& format, int64_t n, int64_t k);

// Backend::PackPanel for every CPU: fp32 [N / 64][K][64], bf16 [N / 64][K / 2][64][2].
void PackWeightPanel(WeightType type, const float* rows_f32, int64_t rows, int64_t panel, int64_t k, void* packed);
// The same for integer formats (integer_layout.h).
void PackIntegerPanel(const WeightFormat& format, const QuantizedRows& rows, int64_t panel, int64_t k, void* packed);

}  // namespace slmmesh::kernels
