#include "worker/checkpoint/read_parts.h"

#include <assert.h>

#include <algorithm>
#include <cstring>

#include "worker/checkpoint/half.h"

namespace slmmesh {
namespace {

using kernels::ScaleType;
using kernels::WeightFormat;
using kernels::WeightType;

constexpr int64_t kWordBytes = 4;
constexpr int64_t kTile = 64;                           // rows and columns that are unpacked at a time
constexpr int kAwqPlace[8] = {0, 4, 1, 5, 2, 6, 3, 7};  // of row r % 8 in its word

// A quant of `bits` bits at `place` of a word. Words are little-endian, so it lies in one byte.
int CodeAt(const uint8_t* word, int bits, int64_t place) {
  return bits == 8 ? word[place] : (word[place / 2] >> (place % 2 * 4)) & 15;
}

// Stored quants less the bias, bits of E4M3 floats as they are, to out [rows, stride].
void ReadCodes(const TensorView& tensor, int64_t row_begin, int64_t row_end, int64_t column_begin, int64_t column_end,
               int64_t stride, int8_t* out) {
  const QuantizedParts& parts = tensor.parts;
  const uint8_t* const bytes = tensor.bytes.data();
  const int bits = parts.bits, bias = parts.bias;
  const int64_t per_word = 32 / bits;
  switch (parts.order) {
    case QuantOrder::kNone:
      return;
    case QuantOrder::kRows: {
      const int64_t row_bytes = static_cast<int64_t>(tensor.bytes.size()) / tensor.rows();
      for (int64_t r = row_begin; r < row_end; ++r) {
        const uint8_t* row = bytes + r * row_bytes;
        int8_t* to = out + (r - row_begin) * stride;
        for (int64_t c = column_begin; c < column_end; ++c) *to++ = static_cast<int8_t>(CodeAt(row, bits, c) - bias);
      }
      return;
    }
    case QuantOrder::kColumns:  // words of neighbouring rows are neighbours
      for (int64_t c = column_begin; c < column_end; ++c) {
        const uint8_t* words = bytes + c / per_word * tensor.rows() * kWordBytes;
        for (int64_t r = row_begin; r < row_end; ++r) {
          const int code = CodeAt(words + r * kWordBytes, bits, c % per_word);
          out[(r - row_begin) * stride + c - column_begin] = static_cast<int8_t>(code - bias);
        }
      }
      return;
    case QuantOrder::kAwqWords:
      for (int64_t c = column_begin; c < column_end; ++c) {
        const uint8_t* words = bytes + c * (tensor.rows() / per_word) * kWordBytes;
        for (int64_t r = row_begin; r < row_end; ++r) {
          const int code = CodeAt(words + r / per_word * kWordBytes, bits, kAwqPlace[r % per_word]);
          out[(r - row_begin) * stride + c - column_begin] = static_cast<int8_t>(code - bias);
        }
      }
      return;
  }
}

// Some columns of one row, and where they begin in a row-major result.
struct Tile {
  int64_t row, column, columns, at;
};

// Unpacks a square at a time (some orders keep rows apart, others columns) and calls visit(tile, codes) for each of its
// rows.
template <typename Visit>
void VisitTiles(const TensorView& tensor, int64_t row_begin, int64_t row_end, int64_t column_begin, int64_t column_end,
                const Visit& visit) {
  int8_t codes[kTile * kTile];
  for (int64_t row = row_begin; row < row_end; row += kTile) {
    const int64_t rows_end = std::min(row + kTile, row_end);
    for (int64_t column = column_begin; column < column_end; column += kTile) {
      const int64_t columns = std::min(kTile, column_end - column);
      ReadCodes(tensor, row, rows_end, column, column + columns, kTile, codes);
      for (int64_t r = row; r < rows_end; ++r) {
        const int64_t at = (r - row_begin) * (column_end - column_begin) + column - column_begin;
        visit(Tile{r, column, columns, at}, codes + (r - row) * kTile);
      }
    }
  }
}

float ScaleOf(const QuantizedParts& parts, int64_t row, int64_t group) {
  const int64_t at = row / parts.rows_per_scale * parts.scale_strides.row + group * parts.scale_strides.group;
  const uint8_t* scales = parts.scales.data();
  if (parts.scale_type == TensorType::kF16) return HalfToFloat(LoadU16(scales + 2 * at));
  if (parts.scale_type == TensorType::kBF16) return BFloatToFloat(LoadU16(scales + 2 * at));
  float scale;
  std::memcpy(&scale, scales + 4 * at, sizeof scale);
  return scale;
}

float MinimumOf(const QuantizedParts& parts, int64_t row, int64_t group, float scale) {
  return -(scale * static_cast<float>(ZeroOf(parts, row, group)));
}

int64_t GroupOf(const QuantizedParts& parts, int64_t column) {
  if (parts.group_index.empty()) return column / parts.columns_per_scale;
  int32_t group;
  std::memcpy(&group, parts.group_index.data() + kWordBytes * column, sizeof group);
  return group;
}

// Behind `column`, where its run of one group ends at the latest.
int64_t RunEnd(const QuantizedParts& parts, int64_t column, int64_t end) {
  if (!parts.group_index.empty()) return column + 1;
  return std::min(end, (column / parts.columns_per_scale + 1) * parts.columns_per_scale);
}

void Dequantize(const TensorView& tensor, int64_t row, int64_t column_begin, int64_t column_end, const int8_t* codes,
                float* out) {
  const QuantizedParts& parts = tensor.parts;
  const bool is_float = tensor.type == TensorType::kF8E4M3;
  for (int64_t begin = column_begin; begin < column_end;) {
    const int64_t end = RunEnd(parts, begin, column_end);
    const int64_t group = GroupOf(parts, begin);
    const float scale = ScaleOf(parts, row, group);
    if (is_float) {
      for (int64_t c = begin; c < end; ++c) *out++ = E4M3ToFloat(static_cast<uint8_t>(*codes++)) * scale;
    } else if (parts.zeros.empty()) {
      for (int64_t c = begin; c < end; ++c) *out++ = scale * static_cast<float>(*codes++);
    } else {
      const float minimum = MinimumOf(parts, row, group, scale);
      for (int64_t c = begin; c < end; ++c) *out++ = scale * static_cast<float>(*codes++) + minimum;
    }
    begin = end;
  }
}

}  // namespace

int ZeroOf(const QuantizedParts& parts, int64_t row, int64_t group) {
  if (parts.zeros.empty()) return 0;
  const uint8_t* zeros = parts.zeros.data();
  if (parts.zeros_are_bytes) {
    return static_cast<int8_t>(zeros[row * parts.zero_strides.row + group * parts.zero_strides.group]);
  }
  const int64_t per_word = 32 / parts.bits;
  const int64_t word = row / per_word * parts.zero_strides.row + group * parts.zero_strides.group;
  const int64_t place = parts.order == QuantOrder::kAwqWords ? kAwqPlace[row % per_word] : row % per_word;
  return CodeAt(zeros + word * kWordBytes, parts.bits, place) + parts.zero_plus - parts.bias;
}

void ReadParts(const TensorView& tensor, int64_t row_begin, int64_t row_end, int64_t column_begin, int64_t column_end,
               float* out) {
  VisitTiles(tensor, row_begin, row_end, column_begin, column_end, [&](const Tile& tile, const int8_t* codes) {
    Dequantize(tensor, tile.row, tile.column, tile.column + tile.columns, codes, out + tile.at);
  });
}

std::optional<WeightFormat> NativeFormatOfParts(const TensorView& tensor) {
  const QuantizedParts& parts = tensor.parts;
  if (tensor.type == TensorType::kF8E4M3 || !parts.group_index.empty()) return std::nullopt;
  const bool has_minima = !parts.zeros.empty();
  const bool is_half = parts.scale_type == TensorType::kF16;
  int64_t group = parts.columns_per_scale == tensor.columns() ? 0 : parts.columns_per_scale;
  if (parts.bits == 8) {
    if (group == 0 && has_minima) return std::nullopt;
    if ((group == 0 ? tensor.columns() : group) % 16 != 0) return std::nullopt;
  } else {
    // Kernels have no int4 without groups: a row's scale is repeated.
    for (const int64_t size : {128, 64, 32}) {
      if (group == 0 && tensor.columns() % size == 0) group = size;
    }
    if (group == 0 || group % 32 != 0) return std::nullopt;
  }
  // The product of an fp16 scale and a zero point does not fit fp16.
  const bool half_scales = is_half && !has_minima && group != 0;
  return WeightFormat(parts.bits == 8 ? WeightType::kInt8 : WeightType::kInt4, group,
                      half_scales ? ScaleType::kFloat16 : ScaleType::kFloat32, has_minima);
}

void ReadQuantizedParts(const TensorView& tensor, int64_t row_begin, int64_t row_end, int64_t column_begin,
                        int64_t column_end, int8_t* quants, float* scales, float* minima) {
  const std::optional<WeightFormat> format = NativeFormatOfParts(tensor);
  assert(format.has_value());
  // Scales of whole rows serve any columns.
  const int64_t group = format->group == 0 ? column_end - column_begin : format->group;
  assert(format->group == 0 || (column_begin % group == 0 && column_end % group == 0));
  VisitTiles(tensor, row_begin, row_end, column_begin, column_end,
             [&](const Tile& tile, const int8_t* codes) { std::copy_n(codes, tile.columns, quants + tile.at); });
  for (int64_t row = row_begin; row < row_end; ++row) {
    for (int64_t column = column_begin; column < column_end; column += group) {
      const int64_t stored_group = GroupOf(tensor.parts, column);
      *scales = ScaleOf(tensor.parts, row, stored_group);
      if (format->has_minima) *minima++ = MinimumOf(tensor.parts, row, stored_group, *scales);
      ++scales;
    }
  }
}

}  // namespace slmmesh
