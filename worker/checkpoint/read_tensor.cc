// ReadTensor: stored types to fp32. Plain loops over contiguous elements, which the compiler vectorises.
#include <assert.h>

#include <algorithm>
#include <cstring>

#include "worker/checkpoint/checkpoint.h"
#include "worker/checkpoint/tensor_table.h"

namespace slmmesh {
namespace {

constexpr int64_t kBlock = 32;  // elements of a quantized block

float FromBits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

uint16_t LoadU16(const uint8_t* bytes) {
  uint16_t value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

// Without branches, and exact for subnormals also when the processor flushes them to zero.
float HalfToFloat(uint16_t half) {
  const uint32_t magnitude = half & 0x7fffu;
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
  const uint32_t normal = (magnitude << 13) + (112u << 23);
  const float subnormal_value = static_cast<float>(static_cast<int32_t>(magnitude)) * 0x1p-24f;
  uint32_t subnormal;
  std::memcpy(&subnormal, &subnormal_value, sizeof subnormal);
  const uint32_t special = (magnitude << 13) | 0x7f800000u;
  const uint32_t finite = magnitude < 0x0400u ? subnormal : normal;
  return FromBits((magnitude >= 0x7c00u ? special : finite) | sign);
}

void ReadHalves(const uint8_t* in, int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = HalfToFloat(LoadU16(in + 2 * i));
}

void ReadBFloats(const uint8_t* in, int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = FromBits(static_cast<uint32_t>(LoadU16(in + 2 * i)) << 16);
}

// Blocks of 32, ggml's layouts. The product of an fp16 scale and a small integer is exact in fp32, so these equal
// ggml's dequantization to the bit, fused or not.
struct Q8_0 {  // fp16 scale, int8[32]
  static constexpr int64_t kBytes = 34;
  static void Read(const uint8_t* block, float* out) {
    const float scale = HalfToFloat(LoadU16(block));
    for (int i = 0; i < kBlock; ++i) out[i] = static_cast<float>(static_cast<int8_t>(block[2 + i])) * scale;
  }
};

struct Q4_0 {  // fp16 scale, 16 bytes: element i in the low half of byte i, element 16 + i in its high half; minus 8
  static constexpr int64_t kBytes = 18;
  static void Read(const uint8_t* block, float* out) {
    const float scale = HalfToFloat(LoadU16(block));
    for (int i = 0; i < 16; ++i) out[i] = static_cast<float>((block[2 + i] & 15) - 8) * scale;
    for (int i = 0; i < 16; ++i) out[16 + i] = static_cast<float>((block[2 + i] >> 4) - 8) * scale;
  }
};

struct Q4_1 {  // fp16 scale, fp16 minimum, 16 bytes as in Q4_0
  static constexpr int64_t kBytes = 20;
  static void Read(const uint8_t* block, float* out) {
    const float scale = HalfToFloat(LoadU16(block));
    const float minimum = HalfToFloat(LoadU16(block + 2));
    for (int i = 0; i < 16; ++i) out[i] = static_cast<float>(block[4 + i] & 15) * scale + minimum;
    for (int i = 0; i < 16; ++i) out[16 + i] = static_cast<float>(block[4 + i] >> 4) * scale + minimum;
  }
};

template <typename Block>
void ReadBlocks(const uint8_t* row, int64_t begin, int64_t end, float* out) {
  while (begin < end) {
    const uint8_t* block = row + begin / kBlock * Block::kBytes;
    const int64_t offset = begin % kBlock;
    const int64_t count = std::min(kBlock - offset, end - begin);
    if (count == kBlock) {
      Block::Read(block, out);
    } else {
      float whole[kBlock];
      Block::Read(block, whole);
      std::copy_n(whole + offset, count, out);
    }
    begin += count;
    out += count;
  }
}

// Elements [begin, end) of one stored row.
void ReadRow(TensorType type, const uint8_t* row, int64_t begin, int64_t end, float* out) {
  switch (type) {
    case TensorType::kF32:
      if (end > begin) std::memcpy(out, row + 4 * begin, static_cast<size_t>(end - begin) * 4);
      return;
    case TensorType::kF16:
      return ReadHalves(row + 2 * begin, end - begin, out);
    case TensorType::kBF16:
      return ReadBFloats(row + 2 * begin, end - begin, out);
    case TensorType::kQ8_0:
      return ReadBlocks<Q8_0>(row, begin, end, out);
    case TensorType::kQ4_0:
      return ReadBlocks<Q4_0>(row, begin, end, out);
    case TensorType::kQ4_1:
      return ReadBlocks<Q4_1>(row, begin, end, out);
  }
}

// The stored place of row `row` of the Hugging Face order: within a head of d rows, row p * d/2 + i (half p, pair i)
// lies at 2 * i + p.
int64_t PermutedRow(int64_t row, int64_t head_dim) {
  const int64_t in_head = row % head_dim;
  const int64_t half = head_dim / 2;
  return row - in_head + 2 * (in_head % half) + in_head / half;
}

}  // namespace

void ReadTensor(const TensorView& tensor, int64_t row_begin, int64_t row_end, int64_t column_begin, int64_t column_end,
                float* out) {
  assert(0 <= row_begin && row_begin <= row_end && row_end <= tensor.rows());
  assert(0 <= column_begin && column_begin <= column_end && column_end <= tensor.columns());
  const uint8_t* const data = tensor.bytes.data();
  const int64_t heads = tensor.interleaved_heads;
  if (tensor.shape.size() == 1 && heads != 0) {  // a bias: its elements are ordered as the matrix's rows
    const int64_t head_dim = tensor.columns() / heads;
    for (int64_t r = row_begin; r < row_end; ++r) {
      for (int64_t c = column_begin; c < column_end; ++c) {
        const int64_t stored = PermutedRow(c, head_dim);
        ReadRow(tensor.type, data, stored, stored + 1, out++);
      }
    }
    return;
  }
  const uint64_t stride = RowBytes(tensor.type, tensor.columns());
  for (int64_t r = row_begin; r < row_end; ++r) {
    const int64_t stored = heads == 0 ? r : PermutedRow(r, tensor.rows() / heads);
    ReadRow(tensor.type, data + static_cast<uint64_t>(stored) * stride, column_begin, column_end, out);
    out += column_end - column_begin;
  }
}

}  // namespace slmmesh
