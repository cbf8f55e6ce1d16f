// ggml's quantized blocks (ggml-quants.c): how a block's bytes give quants, scales and minima. A value is scale * q, or
// scale * q + minimum, in fp32. Scale and quant are so short that the product is exact, which makes the values ggml's
// own to the bit, fused or not.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/weight_format.h"
#include "worker/checkpoint/half.h"

namespace slmmesh {

// Each block type says how many elements share a block and its bytes, the format that its quants are in (its group
// divides the block), and unpacks one block: quants [kElements], scales and minima [kElements / group].
struct Q8_0 {  // fp16 scale, int8[32]
  static constexpr int64_t kElements = 32;
  static constexpr int64_t kBytes = 34;
  static constexpr kernels::WeightType kType = kernels::WeightType::kInt8;
  static constexpr int64_t kGroup = 32;
  static constexpr kernels::ScaleType kScaleType = kernels::ScaleType::kFloat16;
  static constexpr bool kHasMinima = false;

  static void Unpack(const uint8_t* block, int8_t* quants, float* scale, float* /*minimum*/) {
    *scale = HalfToFloat(LoadU16(block));
    std::memcpy(quants, block + 2, 32);
  }
};

// 16 bytes: element i in the low half of byte i, element 16 + i in its high half.
inline void UnpackHalves(const uint8_t* bytes, int minus, int8_t* quants) {
  for (int i = 0; i < 16; ++i) quants[i] = static_cast<int8_t>((bytes[i] & 15) - minus);
  for (int i = 0; i < 16; ++i) quants[16 + i] = static_cast<int8_t>((bytes[i] >> 4) - minus);
}

struct Q4_0 {  // fp16 scale, 16 bytes; minus 8
  static constexpr int64_t kElements = 32;
  static constexpr int64_t kBytes = 18;
  static constexpr kernels::WeightType kType = kernels::WeightType::kInt4;
  static constexpr int64_t kGroup = 32;
  static constexpr kernels::ScaleType kScaleType = kernels::ScaleType::kFloat16;
  static constexpr bool kHasMinima = false;

  static void Unpack(const uint8_t* block, int8_t* quants, float* scale, float* /*minimum*/) {
    *scale = HalfToFloat(LoadU16(block));
    UnpackHalves(block + 2, 8, quants);
  }
};

struct Q4_1 {  // fp16 scale, fp16 minimum, 16 bytes as in Q4_0
  static constexpr int64_t kElements = 32;
  static constexpr int64_t kBytes = 20;
  static constexpr kernels::WeightType kType = kernels::WeightType::kInt4;
  static constexpr int64_t kGroup = 32;
  static constexpr kernels::ScaleType kScaleType = kernels::ScaleType::kFloat16;
  static constexpr bool kHasMinima = true;

  static void Unpack(const uint8_t* block, int8_t* quants, float* scale, float* minimum) {
    *scale = HalfToFloat(LoadU16(block));
    *minimum = HalfToFloat(LoadU16(block + 2));
    UnpackHalves(block + 4, 0, quants);
  }
};

// Of Q4_K and Q5_K: eight scales and eight minima of 6 bits lie in 12 bytes. The first four of each are the low bits of
// bytes 0-3 and 4-7; of the others the low halves are in bytes 8-11, the upper two bits on top of the first eight
// bytes.
inline void UnpackBlockScales(const uint8_t* super_block, float* scales, float* minima) {
  const float scale = HalfToFloat(LoadU16(super_block));
  const float minimum = HalfToFloat(LoadU16(super_block + 2));
  const uint8_t* packed = super_block + 4;
  for (int block = 0; block < 8; ++block) {
    int scale_quantum = packed[block % 4] & 63;
    int minimum_quantum = packed[block % 4 + 4] & 63;
    if (block >= 4) {
      scale_quantum = (packed[block + 4] & 15) | (packed[block - 4] >> 6 << 4);
      minimum_quantum = (packed[block + 4] >> 4) | (packed[block] >> 6 << 4);
    }
    scales[block] = scale * static_cast<float>(scale_quantum);
    minima[block] = -(minimum * static_cast<float>(minimum_quantum));
  }
}

// fp16 scale and fp16 minimum of the block scales, 12 bytes of those, 128 bytes: of each 32 the low halves are one
// block of 32 elements, the high halves the next.
struct Q4_K {
  static constexpr int64_t kElements = 256;
  static constexpr int64_t kBytes = 144;
  static constexpr kernels::WeightType kType = kernels::WeightType::kInt4;
  static constexpr int64_t kGroup = 32;
  static constexpr kernels::ScaleType kScaleType = kernels::ScaleType::kFloat32;
  static constexpr bool kHasMinima = true;

  static void Unpack(const uint8_t* super_block, int8_t* quants, float* scales, float* minima) {
    UnpackBlockScales(super_block, scales, minima);
    for (int block = 0; block < 8; ++block) {
      const uint8_t* quanta = super_block + 16 + block / 2 * 32;
      const int shift = block % 2 * 4;
      for (int i = 0; i < 32; ++i) *quants++ = static_cast<int8_t>((quanta[i] >> shift) & 15);
    }
  }
};

// As Q4_K, with 32 bytes before the halves: bit b of byte i is the fifth bit of element i of block b.
struct Q5_K {
  static constexpr int64_t kElements = 256;
  static constexpr int64_t kBytes = 176;
  static constexpr kernels::WeightType kType = kernels::WeightType::kInt8;
  static constexpr int64_t kGroup = 32;
  static constexpr kernels::ScaleType kScaleType = kernels::ScaleType::kFloat32;
  static constexpr bool kHasMinima = true;

  static void Unpack(const uint8_t* super_block, int8_t* quants, float* scales, float* minima) {
    UnpackBlockScales(super_block, scales, minima);
    const uint8_t* fifth = super_block + 16;
    for (int block = 0; block < 8; ++block) {
      const uint8_t* quanta = super_block + 48 + block / 2 * 32;
      const int shift = block % 2 * 4;
      for (int i = 0; i < 32; ++i) {
        *quants++ = static_cast<int8_t>(((quanta[i] >> shift) & 15) | (((fifth[i] >> block) & 1) << 4));
      }
    }
  }
};

// 128 bytes of low halves, 64 of upper two bits, 16 int8 scales of 16 elements each, fp16 scale of those; minus 32. Of
// each 128 elements, those of the second 64 have the high halves of the same 64 bytes; four elements share a byte of
// upper bits.
struct Q6_K {
  static constexpr int64_t kElements = 256;
  static constexpr int64_t kBytes = 210;
  static constexpr kernels::WeightType kType = kernels::WeightType::kInt8;
  static constexpr int64_t kGroup = 16;
  static constexpr kernels::ScaleType kScaleType = kernels::ScaleType::kFloat32;
  static constexpr bool kHasMinima = false;

  static void Unpack(const uint8_t* super_block, int8_t* quants, float* scales, float* /*minima*/) {
    const float scale = HalfToFloat(LoadU16(super_block + 208));
    for (int i = 0; i < 16; ++i) scales[i] = scale * static_cast<float>(static_cast<int8_t>(super_block[192 + i]));
    for (int i = 0; i < 256; ++i) {
      const int half = i / 128, in_half = i % 128;
      const int low = (super_block[half * 64 + in_half % 64] >> (in_half / 64 * 4)) & 15;
      const int upper = (super_block[128 + half * 32 + in_half % 32] >> (in_half / 32 * 2)) & 3;
      quants[i] = static_cast<int8_t>((low | upper << 4) - 32);
    }
  }
};

}  // namespace slmmesh
