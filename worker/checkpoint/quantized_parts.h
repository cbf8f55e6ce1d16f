// A weight that Hugging Face's quantizers store in several tensors: quants, scales and, maybe, zero points. A value is
// scale * (q - zero), computed in fp32 as scale * q + -(scale * zero); of E4M3 floats it is scale * value.
#pragma once

#include <cstdint>

#include "absl/types/span.h"

namespace slmmesh {

enum class TensorType;

enum class QuantOrder : uint8_t {
  kNone,      // the tensor's bytes are all there is
  kRows,      // row by row: bytes, or int32 words that hold consecutive columns (compressed-tensors, FP8)
  kColumns,   // int32 [columns / quants in a word, rows]: a word holds consecutive columns of one row (GPTQ)
  kAwqWords,  // int32 [columns, rows / 8]: a word holds rows 0, 2, 4, 6, 1, 3, 5, 7 of eight (AWQ)
};

// Numbers of (row, column group) lie at row / rows_per * row_stride + group * group_stride.
struct GroupStrides {
  int64_t row = 0;
  int64_t group = 0;
};

// All of it was checked when the checkpoint was opened: every index below lies within its span.
struct QuantizedParts {
  QuantOrder order = QuantOrder::kNone;
  int bits = 8;  // of a stored quant: 8, or 4 in words
  // Subtracted from stored quants and zero points, which are unsigned in words, so that q is an int8, or -8 … 7.
  int bias = 0;

  TensorType scale_type{};
  absl::Span<const uint8_t> scales;
  GroupStrides scale_strides;
  int64_t rows_per_scale = 1;
  int64_t columns_per_scale = 0;  // the group; at least 1

  absl::Span<const uint8_t> zeros;  // empty: all zero points are 0 (as q is)
  bool zeros_are_bytes = false;     // int8 each; else in int32 words of consecutive rows, in AWQ's order with kAwqWords
  GroupStrides zero_strides;        // of words: of word row row / (quants in a word)
  int zero_plus = 0;                // what GPTQ's first format leaves out: stored zero points are one too small

  absl::Span<const uint8_t> group_index;  // int32 [columns]: each column's group; empty: column / columns_per_scale
};

}  // namespace slmmesh
