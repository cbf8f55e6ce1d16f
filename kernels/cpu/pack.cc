#include "kernels/cpu/pack.h"

#include <cstdlib>

#include "kernels/cpu/bfloat16.h"

namespace slmmesh::kernels {

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

}  // namespace slmmesh::kernels
