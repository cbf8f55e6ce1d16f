// fp32 weights to a quantized format, by rounding to the nearest. The same bits on every machine.
#pragma once

#include <cstdint>

#include "kernels/weight_format.h"

namespace slmmesh {

// Rows of `columns` finite values, row-major, to quants [rows, columns] and scales [rows, columns / format.group]
// ([rows] where group is 0), exact in the format's scale_type; minima as scales, null where the format has none.
// `format` is an integer type; its group divides `columns`.
//  - int8: scale = max |w| / 127.
//  - int4: of a few scales around max |w| / 7 and the signed extreme / -8, that with the least squared error.
//  - with minima: the range from min(w, 0) to max(w, 0) in equal steps.
void QuantizeRows(const kernels::WeightFormat& format, const float* values, int64_t rows, int64_t columns,
                  int8_t* quants, float* scales, float* minima);

}  // namespace slmmesh
