// fp32 to the stored tensor types, for files made by tests. Values that a type cannot hold are truncated (bf16, fp16)
// or rounded to the nearest step of their block (quantized).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "worker/checkpoint/checkpoint.h"

namespace slmmesh {

template <typename T>
void AppendLittleEndian(std::string& bytes, T value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}

// Towards zero; magnitudes below fp16's smallest normal become zero, above its largest that largest.
inline uint16_t ToHalf(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  const uint16_t sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
  const int exponent = static_cast<int>((bits >> 23) & 255) - 127 + 15;
  if (exponent <= 0) return sign;
  if (exponent >= 31) return static_cast<uint16_t>(sign | 0x7bffu);
  return static_cast<uint16_t>(sign | (exponent << 10) | ((bits >> 13) & 0x3ffu));
}

inline float FromHalf(uint16_t half) {
  const int exponent = (half >> 10) & 31;
  const float magnitude = exponent == 0 ? std::ldexp(static_cast<float>(half & 1023), -24)
                                        : std::ldexp(static_cast<float>(1024 + (half & 1023)), exponent - 25);
  return (half & 0x8000) != 0 ? -magnitude : magnitude;
}

// 32 elements.
inline void AppendQuantizedBlock(std::string& bytes, TensorType type, const float* values) {
  const auto [low, high] = std::minmax_element(values, values + 32);
  const float largest = std::max(std::fabs(*low), std::fabs(*high));
  const bool is_q4_1 = type == TensorType::kQ4_1;
  const uint16_t scale_bits = ToHalf(is_q4_1 ? (*high - *low) / 15 : largest / (type == TensorType::kQ8_0 ? 127 : 7));
  const uint16_t minimum_bits = is_q4_1 ? ToHalf(*low) : 0;
  const float scale = FromHalf(scale_bits);
  const float minimum = FromHalf(minimum_bits);
  const auto step = [&](int i) {
    return scale == 0 ? 0 : static_cast<int>(std::lround((values[i] - minimum) / scale));
  };
  AppendLittleEndian(bytes, scale_bits);
  if (is_q4_1) AppendLittleEndian(bytes, minimum_bits);
  if (type == TensorType::kQ8_0) {
    for (int i = 0; i < 32; ++i) AppendLittleEndian(bytes, static_cast<int8_t>(std::clamp(step(i), -128, 127)));
    return;
  }
  const auto nibble = [&](int i) { return std::clamp(step(i) + (is_q4_1 ? 0 : 8), 0, 15); };
  for (int i = 0; i < 16; ++i) AppendLittleEndian(bytes, static_cast<uint8_t>(nibble(i) | (nibble(16 + i) << 4)));
}

inline std::string EncodeTensor(TensorType type, const std::vector<float>& values) {
  std::string bytes;
  for (size_t i = 0; i < values.size(); ++i) {
    switch (type) {
      case TensorType::kF32:
        AppendLittleEndian(bytes, values[i]);
        break;
      case TensorType::kF16:
        AppendLittleEndian(bytes, ToHalf(values[i]));
        break;
      case TensorType::kBF16: {
        uint32_t bits;
        std::memcpy(&bits, &values[i], sizeof bits);
        AppendLittleEndian(bytes, static_cast<uint16_t>(bits >> 16));
        break;
      }
      default:
        if (i % 32 == 0) AppendQuantizedBlock(bytes, type, &values[i]);
    }
  }
  return bytes;
}

}  // namespace slmmesh
