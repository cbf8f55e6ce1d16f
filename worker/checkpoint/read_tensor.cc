// ReadTensor and ReadQuantized: stored types to fp32, or to quants and scales. Plain loops over contiguous elements,
// which the compiler vectorises.
#include <assert.h>

#include <algorithm>
#include <cstring>

#include "worker/checkpoint/checkpoint.h"
#include "worker/checkpoint/ggml_blocks.h"
#include "worker/checkpoint/half.h"
#include "worker/checkpoint/read_parts.h"
#include "worker/checkpoint/tensor_table.h"

namespace slmmesh {
namespace {

void ReadHalves(const uint8_t* in, int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = HalfToFloat(LoadU16(in + 2 * i));
}

void ReadBFloats(const uint8_t* in, int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = BFloatToFloat(LoadU16(in + 2 * i));
}

// Integers as they are, rounded where fp32 lacks the bits.
template <typename T>
void ReadIntegers(const uint8_t* in, int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i) {
    T value;
    std::memcpy(&value, in + static_cast<int64_t>(sizeof value) * i, sizeof value);
    out[i] = static_cast<float>(value);
  }
}

void ReadE4M3(const uint8_t* in, int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = E4M3ToFloat(in[i]);
}

template <typename Block>
void ReadBlock(const uint8_t* block, float* out) {
  int8_t quants[Block::kElements];
  float scales[Block::kElements / Block::kGroup];
  float minima[Block::kElements / Block::kGroup];
  Block::Unpack(block, quants, scales, minima);
  for (int64_t i = 0; i < Block::kElements; ++i) {
    const float product = scales[i / Block::kGroup] * static_cast<float>(quants[i]);
    out[i] = Block::kHasMinima ? product + minima[i / Block::kGroup] : product;
  }
}

template <typename Block>
void ReadBlocks(const uint8_t* row, int64_t begin, int64_t end, float* out) {
  while (begin < end) {
    const uint8_t* block = row + begin / Block::kElements * Block::kBytes;
    const int64_t offset = begin % Block::kElements;
    const int64_t count = std::min(Block::kElements - offset, end - begin);
    if (count == Block::kElements) {
      ReadBlock<Block>(block, out);
    } else {
      float whole[Block::kElements];
      ReadBlock<Block>(block, whole);
      std::copy_n(whole + offset, count, out);
    }
    begin += count;
    out += count;
  }
}

// Columns [begin, end) of one stored row, at multiples of the group.
template <typename Block>
void ReadQuantizedBlocks(const uint8_t* row, int64_t begin, int64_t end, int8_t* quants, float* scales, float* minima) {
  constexpr int64_t kGroups = Block::kElements / Block::kGroup;
  while (begin < end) {
    int8_t block_quants[Block::kElements];
    float block_scales[kGroups];
    float block_minima[kGroups];
    Block::Unpack(row + begin / Block::kElements * Block::kBytes, block_quants, block_scales, block_minima);
    const int64_t offset = begin % Block::kElements;
    const int64_t count = std::min(Block::kElements - offset, end - begin);
    const int64_t groups = count / Block::kGroup;
    quants = std::copy_n(block_quants + offset, count, quants);
    scales = std::copy_n(block_scales + offset / Block::kGroup, groups, scales);
    if (Block::kHasMinima) minima = std::copy_n(block_minima + offset / Block::kGroup, groups, minima);
    begin += count;
  }
}

// Calls visit(Block()) with the block type of `type`; false for the float types.
template <typename Visit>
bool VisitBlockType(TensorType type, const Visit& visit) {
  switch (type) {
    case TensorType::kF32:
    case TensorType::kF16:
    case TensorType::kBF16:
    case TensorType::kI8:
    case TensorType::kI32:
    case TensorType::kI64:
    case TensorType::kF8E4M3:
      return false;
    case TensorType::kQ8_0:
      visit(Q8_0());
      return true;
    case TensorType::kQ4_0:
      visit(Q4_0());
      return true;
    case TensorType::kQ4_1:
      visit(Q4_1());
      return true;
    case TensorType::kQ4_K:
      visit(Q4_K());
      return true;
    case TensorType::kQ5_K:
      visit(Q5_K());
      return true;
    case TensorType::kQ6_K:
      visit(Q6_K());
      return true;
  }
  return false;
}

// Elements [begin, end) of one stored row.
void ReadRow(TensorType type, const uint8_t* row, int64_t begin, int64_t end, float* out) {
  if (type == TensorType::kF32 && end > begin) std::memcpy(out, row + 4 * begin, static_cast<size_t>(end - begin) * 4);
  if (type == TensorType::kF16) ReadHalves(row + 2 * begin, end - begin, out);
  if (type == TensorType::kBF16) ReadBFloats(row + 2 * begin, end - begin, out);
  if (type == TensorType::kI8) ReadIntegers<int8_t>(row + begin, end - begin, out);
  if (type == TensorType::kI32) ReadIntegers<int32_t>(row + 4 * begin, end - begin, out);
  if (type == TensorType::kI64) ReadIntegers<int64_t>(row + 8 * begin, end - begin, out);
  if (type == TensorType::kF8E4M3) ReadE4M3(row + begin, end - begin, out);
  VisitBlockType(type, [&](auto block) { ReadBlocks<decltype(block)>(row, begin, end, out); });
}

// The stored place of row `row` of the Hugging Face order: within a head of d rows, row p * d/2 + i (half p, pair i)
// lies at 2 * i + p.
int64_t PermutedRow(int64_t row, int64_t head_dim) {
  const int64_t in_head = row % head_dim;
  const int64_t half = head_dim / 2;
  return row - in_head + 2 * (in_head % half) + in_head / half;
}

// The stored bytes of row `row` of a matrix.
const uint8_t* StoredRow(const TensorView& tensor, int64_t row) {
  const int64_t heads = tensor.interleaved_heads;
  const int64_t stored = heads == 0 ? row : PermutedRow(row, tensor.rows() / heads);
  return tensor.bytes.data() + static_cast<uint64_t>(stored) * RowBytes(tensor.type, tensor.columns());
}

void CheckRange(const TensorView& tensor, int64_t row_begin, int64_t row_end, int64_t column_begin,
                int64_t column_end) {
  assert(0 <= row_begin && row_begin <= row_end && row_end <= tensor.rows());
  assert(0 <= column_begin && column_begin <= column_end && column_end <= tensor.columns());
}

}  // namespace

void ReadTensor(const TensorView& tensor, int64_t row_begin, int64_t row_end, int64_t column_begin, int64_t column_end,
                float* out) {
  CheckRange(tensor, row_begin, row_end, column_begin, column_end);
  if (tensor.parts.order != QuantOrder::kNone) {
    return ReadParts(tensor, row_begin, row_end, column_begin, column_end, out);
  }
  if (tensor.shape.size() == 1 && tensor.interleaved_heads != 0) {  // a bias: elements ordered as the matrix's rows
    const int64_t head_dim = tensor.columns() / tensor.interleaved_heads;
    for (int64_t r = row_begin; r < row_end; ++r) {
      for (int64_t c = column_begin; c < column_end; ++c) {
        const int64_t stored = PermutedRow(c, head_dim);
        ReadRow(tensor.type, tensor.bytes.data(), stored, stored + 1, out++);
      }
    }
    return;
  }
  for (int64_t r = row_begin; r < row_end; ++r) {
    ReadRow(tensor.type, StoredRow(tensor, r), column_begin, column_end, out);
    out += column_end - column_begin;
  }
}

std::optional<kernels::WeightFormat> NativeFormat(const TensorView& tensor) {
  std::optional<kernels::WeightFormat> format;
  if (tensor.parts.order != QuantOrder::kNone) return NativeFormatOfParts(tensor);
  if (tensor.shape.size() != 2) return format;
  VisitBlockType(tensor.type, [&](auto block) {
    using Block = decltype(block);
    format.emplace(Block::kType, Block::kGroup, Block::kScaleType, Block::kHasMinima);
  });
  return format;
}

void ReadQuantized(const TensorView& tensor, int64_t row_begin, int64_t row_end, int64_t column_begin,
                   int64_t column_end, int8_t* quants, float* scales, float* minima) {
  CheckRange(tensor, row_begin, row_end, column_begin, column_end);
  if (tensor.parts.order != QuantOrder::kNone) {
    return ReadQuantizedParts(tensor, row_begin, row_end, column_begin, column_end, quants, scales, minima);
  }
  const bool is_quantized = VisitBlockType(tensor.type, [&](auto block) {
    using Block = decltype(block);
    assert(column_begin % Block::kGroup == 0 && column_end % Block::kGroup == 0);
    assert(!Block::kHasMinima || minima != nullptr);
    const int64_t columns = column_end - column_begin;
    const int64_t groups = columns / Block::kGroup;
    for (int64_t r = row_begin; r < row_end; ++r) {
      ReadQuantizedBlocks<Block>(StoredRow(tensor, r), column_begin, column_end, quants, scales, minima);
      quants += columns;
      scales += groups;
      if (Block::kHasMinima) minima += groups;
    }
  });
  assert(is_quantized);
  static_cast<void>(is_quantized);
}

}  // namespace slmmesh
