// Makes rows of a product's x (RowSource), one at a time.
#pragma once

#include <cstdint>

#include "kernels/backend.h"
#include "kernels/cpu/kernel_table.h"

namespace slmmesh::kernels {

inline void MakeRow(const KernelTable& kernels, const RowSource& source, int64_t k, int64_t row) {
  float* x = source.rows + row * k;
  switch (source.kind) {
    case RowSource::Kind::kThere:
      return;
    case RowSource::Kind::kRmsNorm: {
      float* residual = source.residual + row * k;
      if (source.delta == nullptr) return kernels.rms_norm(residual, source.weight, source.epsilon, k, x);
      return kernels.add_rms_norm(residual, source.delta + row * k, source.weight, source.epsilon, k, x);
    }
    case RowSource::Kind::kSiluMul: {
      const float* gate = source.gate_up + row * 2 * k;
      return kernels.silu_mul(gate, gate + k, k, x);
    }
  }
}

}  // namespace slmmesh::kernels
