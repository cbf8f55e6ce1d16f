// Kernels over one row, written once over an instruction set's Vec16. Sums run in 16 lanes and fold in a fixed tree.
#pragma once

#include <cstdint>

#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/vector_math.h"

namespace slmmesh::kernels {

template <typename Vec16>
struct RowKernels {
  static void RmsNorm(const float* x, const float* weight, float epsilon, int64_t h, float* y) {
    Vec16 squares = Vec16::Splat(0.0f);
    ForEachVector(h, [&](int64_t i, int64_t lanes) {
      const Vec16 v = LoadLanes(x + i, lanes);
      squares = Fma(v, v, squares);
    });
    Scale(x, weight, Sum(squares), epsilon, h, y);
  }

  static void AddRmsNorm(float* residual, const float* delta, const float* weight, float epsilon, int64_t h, float* y) {
    Vec16 squares = Vec16::Splat(0.0f);
    ForEachVector(h, [&](int64_t i, int64_t lanes) {
      const Vec16 v = LoadLanes(residual + i, lanes) + LoadLanes(delta + i, lanes);
      StoreLanes(v, lanes, residual + i);
      squares = Fma(v, v, squares);
    });
    Scale(residual, weight, Sum(squares), epsilon, h, y);
  }

  static void SiluMul(const float* gate, const float* up, int64_t count, float* y) {
    ForEachVector(count, [&](int64_t i, int64_t lanes) {
      StoreLanes(Silu(LoadLanes(gate + i, lanes)) * LoadLanes(up + i, lanes), lanes, y + i);
    });
  }

  // Pairs (i, i + half) of a head by angle i.
  static void Rotate(const float* cos, const float* sin, int64_t half, float* head) {
    ForEachVector(half, [&](int64_t i, int64_t lanes) {
      const Vec16 a = LoadLanes(head + i, lanes), b = LoadLanes(head + half + i, lanes);
      const Vec16 c = LoadLanes(cos + i, lanes), s = LoadLanes(sin + i, lanes);
      StoreLanes(a * c - b * s, lanes, head + i);
      StoreLanes(b * c + a * s, lanes, head + half + i);
    });
  }

  static void FinishRows(const FinishArgs& args) {
    for (int64_t r = 0; r < args.rows; ++r) {
      ForEachVector(args.columns, [&](int64_t i, int64_t lanes) {
        const int64_t at = r * kPanelColumns + i;  // of 64 columns; beyond `lanes` there is more of them
        Vec16 v = Vec16::Load(args.sums + at);
        for (int j = 0; j < args.num_left; ++j) v = Vec16::Load(args.left[j] + at) + v;
        if (args.bias != nullptr) v = v + LoadLanes(args.bias + i, lanes);
        StoreLanes(v, lanes, args.out + r * args.out_stride + i);
      });
    }
  }

 private:
  template <typename Body>
  static void ForEachVector(int64_t count, Body body) {
    int64_t i = 0;
    for (; i + 16 <= count; i += 16) body(i, 16);
    if (i < count) body(i, count - i);
  }
  static Vec16 LoadLanes(const float* p, int64_t lanes) {
    return lanes == 16 ? Vec16::Load(p) : Vec16::LoadFirst(p, lanes);
  }
  static void StoreLanes(Vec16 v, int64_t lanes, float* p) {
    if (lanes == 16) {
      v.Store(p);
    } else {
      v.StoreFirst(p, lanes);
    }
  }
  static void Scale(const float* x, const float* weight, float squares, float epsilon, int64_t h, float* y) {
    const float mean = squares / static_cast<float>(h);
    const Vec16 inverse = Vec16::Splat(1.0f / __builtin_sqrtf(mean + epsilon));
    ForEachVector(h, [&](int64_t i, int64_t lanes) {
      StoreLanes(LoadLanes(x + i, lanes) * inverse * LoadLanes(weight + i, lanes), lanes, y + i);
    });
  }
};

}  // namespace slmmesh::kernels
