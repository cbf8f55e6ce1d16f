// ReadTensor: stored types to fp32. Plain loops over contiguous elements, which the compiler vectorises.
#include <assert.h>

#include <algorithm>
#include <cstring>

#include "worker/checkpoint/checkpoint.h"
#include "worker/checkpoint/tensor_table.h"

namespace slmmesh {
namespace {

constexpr int kBlock = 32;        // elements of a quantized block
constexpr int kSuperBlock = 256;  // of one of the K-quants: eight or sixteen blocks, whose scales are quantized, too

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

// ggml's layouts (ggml-quants.c), in blocks of 32 or 256. The products of an fp16 scale and small integers are exact in
// fp32, so these equal ggml's dequantization to the bit, fused or not.
struct Q8_0 {  // fp16 scale, int8[32]
  static constexpr int64_t kElements = kBlock;
  static constexpr int64_t kBytes = 34;
  static void Read(const uint8_t* block, float* out) {
    const float scale = HalfToFloat(LoadU16(block));
    for (int i = 0; i < kBlock; ++i) out[i] = static_cast<float>(static_cast<int8_t>(block[2 + i])) * scale;
  }
};

struct Q4_0 {  // fp16 scale, 16 bytes: element i in the low half of byte i, element 16 + i in its high half; minus 8
  static constexpr int64_t kElements = kBlock;
  static constexpr int64_t kBytes = 18;
  static void Read(const uint8_t* block, float* out) {
    const float scale = HalfToFloat(LoadU16(block));
    for (int i = 0; i < 16; ++i) out[i] = static_cast<float>((block[2 + i] & 15) - 8) * scale;
    for (int i = 0; i < 16; ++i) out[16 + i] = static_cast<float>((block[2 + i] >> 4) - 8) * scale;
  }
};

struct Q4_1 {  // fp16 scale, fp16 minimum, 16 bytes as in Q4_0
  static constexpr int64_t kElements = kBlock;
  static constexpr int64_t kBytes = 20;
  static void Read(const uint8_t* block, float* out) {
    const float scale = HalfToFloat(LoadU16(block));
    const float minimum = HalfToFloat(LoadU16(block + 2));
    for (int i = 0; i < 16; ++i) out[i] = static_cast<float>(block[4 + i] & 15) * scale + minimum;
    for (int i = 0; i < 16; ++i) out[16 + i] = static_cast<float>(block[4 + i] >> 4) * scale + minimum;
  }
};

struct BlockScale {
  float scale, minimum;
};

// Of block `block` of Q4_K or Q5_K: eight scales and eight minima of 6 bits lie in 12 bytes. The first four of each are
// the low bits of bytes 0-3 and 4-7; of the others the low halves are in bytes 8-11, the upper two bits on top of the
// first eight bytes.
BlockScale ReadBlockScale(const uint8_t* super_block, int block) {
  const float scale = HalfToFloat(LoadU16(super_block));
  const float minimum = HalfToFloat(LoadU16(super_block + 2));
  const uint8_t* packed = super_block + 4;
  int scale_quantum = packed[block % 4] & 63;
  int minimum_quantum = packed[block % 4 + 4] & 63;
  if (block >= 4) {
    scale_quantum = (packed[block + 4] & 15) | (packed[block - 4] >> 6 << 4);
    minimum_quantum = (packed[block + 4] >> 4) | (packed[block] >> 6 << 4);
  }
  return {scale * static_cast<float>(scale_quantum), minimum * static_cast<float>(minimum_quantum)};
}

// fp16 scale and fp16 minimum of the block scales, 12 bytes of those, 128 bytes: of each 32 the low halves are one
// block, the high halves the next.
struct Q4_K {
  static constexpr int64_t kElements = kSuperBlock;
  static constexpr int64_t kBytes = 144;
  static void Read(const uint8_t* super_block, float* out) {
    for (int block = 0; block < 8; ++block) {
      const BlockScale of = ReadBlockScale(super_block, block);
      const uint8_t* quanta = super_block + 16 + block / 2 * kBlock;
      const int shift = block % 2 * 4;
      for (int i = 0; i < kBlock; ++i) {
        *out++ = of.scale * static_cast<float>((quanta[i] >> shift) & 15) - of.minimum;
      }
    }
  }
};

// As Q4_K, with 32 bytes before the halves: bit b of byte i is the fifth bit of element i of block b.
struct Q5_K {
  static constexpr int64_t kElements = kSuperBlock;
  static constexpr int64_t kBytes = 176;
  static void Read(const uint8_t* super_block, float* out) {
    const uint8_t* fifth = super_block + 16;
    for (int block = 0; block < 8; ++block) {
      const BlockScale of = ReadBlockScale(super_block, block);
      const uint8_t* quanta = super_block + 48 + block / 2 * kBlock;
      const int shift = block % 2 * 4;
      for (int i = 0; i < kBlock; ++i) {
        const int quantum = ((quanta[i] >> shift) & 15) | (((fifth[i] >> block) & 1) << 4);
        *out++ = of.scale * static_cast<float>(quantum) - of.minimum;
      }
    }
  }
};

// 128 bytes of low halves, 64 of upper two bits, 16 int8 scales of 16 elements each, fp16 scale of those; minus 32. Of
// each 128 elements, those of the second 64 have the high halves of the same 64 bytes; four elements share a byte of
// upper bits.
struct Q6_K {
  static constexpr int64_t kElements = kSuperBlock;
  static constexpr int64_t kBytes = 210;
  static void Read(const uint8_t* super_block, float* out) {
    const float scale = HalfToFloat(LoadU16(super_block + 208));
    for (int i = 0; i < kSuperBlock; ++i) {
      const int half = i / 128, in_half = i % 128;
      const int low = (super_block[half * 64 + in_half % 64] >> (in_half / 64 * 4)) & 15;
      const int upper = (super_block[128 + half * 32 + in_half % 32] >> (in_half / 32 * 2)) & 3;
      const float block_scale = scale * static_cast<float>(static_cast<int8_t>(super_block[192 + i / 16]));
      out[i] = block_scale * static_cast<float>((low | upper << 4) - 32);
    }
  }
};

template <typename Block>
void ReadBlocks(const uint8_t* row, int64_t begin, int64_t end, float* out) {
  while (begin < end) {
    const uint8_t* block = row + begin / Block::kElements * Block::kBytes;
    const int64_t offset = begin % Block::kElements;
    const int64_t count = std::min(Block::kElements - offset, end - begin);
    if (count == Block::kElements) {
      Block::Read(block, out);
    } else {
      float whole[Block::kElements];
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
    case TensorType::kQ4_K:
      return ReadBlocks<Q4_K>(row, begin, end, out);
    case TensorType::kQ5_K:
      return ReadBlocks<Q5_K>(row, begin, end, out);
    case TensorType::kQ6_K:
      return ReadBlocks<Q6_K>(row, begin, end, out);
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
