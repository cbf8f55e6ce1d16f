#include "kernels/cpu/pack.h"

#include <cstdlib>
#include <cstring>

#include "kernels/cpu/bfloat16.h"
#include "kernels/cpu/half.h"
#include "kernels/cpu/integer_layout.h"

namespace slmmesh::kernels {
namespace {

void PackScales(const float* scales, int64_t rows, int64_t groups, int64_t group, ScaleType type, char* out) {
  for (int64_t column = 0; column < kPanelColumns; ++column) {
    const float scale = column < rows ? scales[column * groups + group] : 0.0f;
    if (type == ScaleType::kFloat32) {
      reinterpret_cast<float*>(out)[column] = scale;
    } else {
      reinterpret_cast<uint16_t*>(out)[column] = FloatToHalf(scale);
    }
  }
}

// quant(column, i): quant i of the group, unsigned.
template <typename Quant>
void PackInt8(int64_t group, Quant quant, uint8_t* out) {
  for (int64_t i = 0; i < group; i += 4) {
    for (int64_t column = 0; column < kPanelColumns; ++column) {
      for (int64_t j = 0; j < 4; ++j) *out++ = static_cast<uint8_t>(quant(column, i + j));
    }
  }
}

template <typename Quant>
void PackInt4(int64_t group, Quant quant, uint8_t* out) {
  for (int64_t i = 0; i < group; i += 8) {
    for (int64_t column = 0; column < kPanelColumns; ++column) {
      for (int64_t j = 0; j < 4; ++j) {
        *out++ = static_cast<uint8_t>(quant(column, i + j) | quant(column, i + 4 + j) << 4);
      }
    }
  }
}

}  // namespace

size_t PackedWeightBytes(const WeightFormat& format, int64_t n, int64_t k) {
  const int64_t panels = (n + kPanelColumns - 1) / kPanelColumns;
  if (format.is_integer()) return static_cast<size_t>(panels * IntegerLayout(format, k).panel_bytes());
  return static_cast<size_t>(panels * kPanelColumns * k * (format.type == WeightType::kFloat32 ? 4 : 2));
}

void PackWeightPanel(WeightType type, const float* rows_f32, int64_t rows, int64_t panel, int64_t k, void* packed) {
  if (rows > kPanelColumns || k % 2 != 0) std::abort();
  const auto weight = [&](int64_t column, int64_t i) { return column < rows ? rows_f32[column * k + i] : 0.0f; };
  if (type == WeightType::kFloat32) {
    float* out = static_cast<float*>(packed) + panel * kPanelColumns * k;
    for (int64_t i = 0; i < k; ++i) {
      for (int64_t column = 0; column < kPanelColumns; ++column) *out++ = weight(column, i);
    }
    return;
  }
  BFloat16* out = static_cast<BFloat16*>(packed) + panel * kPanelColumns * k;
  for (int64_t i = 0; i < k; i += 2) {
    for (int64_t column = 0; column < kPanelColumns; ++column) {
      *out++ = FloatToBf16(weight(column, i));
      *out++ = FloatToBf16(weight(column, i + 1));
    }
  }
}

void PackIntegerPanel(const WeightFormat& format, const QuantizedRows& rows, int64_t panel, int64_t k, void* packed) {
  const IntegerLayout layout(format, k);
  if (!format.is_integer() || rows.rows > kPanelColumns || k % layout.group() != 0) std::abort();
  if (format.has_minima != (rows.minima != nullptr)) std::abort();
  const int32_t offset = format.type == WeightType::kInt8 ? kInt8Offset : Int4Offset(format);
  char* out = static_cast<char*>(packed) + panel * layout.panel_bytes();
  for (int64_t g = 0; g < layout.groups(); ++g, out += layout.group_bytes()) {
    PackScales(rows.scales, rows.rows, layout.groups(), g, format.scale_type, out);
    if (format.has_minima) {
      PackScales(rows.minima, rows.rows, layout.groups(), g, format.scale_type, out + layout.scale_bytes());
    }
    const auto quant = [&](int64_t column, int64_t i) {
      return column < rows.rows ? rows.quants[column * k + g * layout.group() + i] + offset : offset;
    };
    uint8_t* quants = reinterpret_cast<uint8_t*>(out + layout.header_bytes());
    format.type == WeightType::kInt8 ? PackInt8(layout.group(), quant, quants)
                                     : PackInt4(layout.group(), quant, quants);
  }
}

}  // namespace slmmesh::kernels
