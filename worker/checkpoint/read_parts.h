// Reading weights that are stored in parts (quantized_parts.h).
#pragma once

#include <cstdint>
#include <optional>

#include "kernels/weight_format.h"
#include "worker/checkpoint/checkpoint.h"

namespace slmmesh {

// As ReadTensor, NativeFormat and ReadQuantized, which call these.
void ReadParts(const TensorView& tensor, int64_t row_begin, int64_t row_end, int64_t column_begin, int64_t column_end,
               float* out);
std::optional<kernels::WeightFormat> NativeFormatOfParts(const TensorView& tensor);
void ReadQuantizedParts(const TensorView& tensor, int64_t row_begin, int64_t row_end, int64_t column_begin,
                        int64_t column_end, int8_t* quants, float* scales, float* minima);

// The zero point of a row's group, in the coordinates of q; 0 where there are none.
int ZeroOf(const QuantizedParts& parts, int64_t row, int64_t group);

}  // namespace slmmesh
