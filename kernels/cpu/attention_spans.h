// From the spans of a task to its output, written once over an instruction set's Vec16 and a kernel of one span:
//   static void Kernel::RunSpan(const AttentionTask&, int64_t span, float* partials)
//   static float Kernel::Power(float x): what a probability is to its score: Power(a + b) = Power(a) * Power(b)
#pragma once

#include <cstdint>

#include "kernels/cpu/attention_task.h"
#include "kernels/cpu/kv_layout.h"

namespace slmmesh::kernels {

template <typename Vec16, typename Kernel>
class AttentionSpans {
 public:
  static constexpr AttentionKernels Kernels() { return {Run, Kernel::RunSpan, Join}; }

  static void Run(const AttentionTask& task) {
    alignas(64) float joined[kAttentionRows * kMaxPartialFloats];
    alignas(64) float partials[kAttentionRows * kMaxPartialFloats];
    const SpanRange spans = SpansOf(task);
    for (int64_t span = spans.begin; span < spans.end; ++span) {
      Kernel::RunSpan(task, span, span == spans.begin ? joined : partials);
      if (span > spans.begin) JoinSpan(task, span, partials, joined);
    }
    WriteRows(task, joined);
  }

  static void Join(const AttentionTask& task, float* partials) {
    const SpanRange spans = SpansOf(task);
    const int64_t floats = (task.row_end - task.row_begin) * PartialFloats(ValueStride(task));
    for (int64_t span = spans.begin + 1; span < spans.end; ++span) {
      JoinSpan(task, span, partials + (span - spans.begin) * floats, partials);
    }
    WriteRows(task, partials);
  }

 private:
  static int64_t ValueStride(const AttentionTask& task) { return KvLayout(task.args->cache).value_stride(); }

  static void JoinSpan(const AttentionTask& task, int64_t span, const float* partials, float* joined) {
    const int64_t stride = ValueStride(task);
    for (int64_t row = task.row_begin; row < task.row_end; ++row) {
      const AttentionRow visible = RowOf(task, row);
      const float* part = partials + (row - task.row_begin) * PartialFloats(stride);
      float* sum = joined + (row - task.row_begin) * PartialFloats(stride);
      const int64_t first = visible.first / kAttentionSpan;
      if (span < first || visible.last < span * kAttentionSpan) continue;
      if (span == first) {
        for (int64_t i = 0; i < PartialFloats(stride); i += 16) Vec16::Load(part + i).Store(sum + i);
      } else {
        JoinRow(part, stride, sum);
      }
    }
  }

  static void JoinRow(const float* part, int64_t stride, float* sum) {
    const float maximum = part[0] > sum[0] ? part[0] : sum[0];
    const float part_factor = Kernel::Power(part[0] - maximum), sum_factor = Kernel::Power(sum[0] - maximum);
    sum[0] = maximum;
    sum[1] = sum[1] * sum_factor + part[1] * part_factor;
    const Vec16 part_factors = Vec16::Splat(part_factor), sum_factors = Vec16::Splat(sum_factor);
    for (int64_t i = kPartialSums; i < PartialFloats(stride); i += 16) {
      Fma(Vec16::Load(part + i), part_factors, Vec16::Load(sum + i) * sum_factors).Store(sum + i);
    }
  }

  static void WriteRows(const AttentionTask& task, const float* joined) {
    const int64_t head_dim = task.args->cache.head_dim, stride = ValueStride(task);
    for (int64_t row = task.row_begin; row < task.row_end; ++row) {
      const float* sum = joined + (row - task.row_begin) * PartialFloats(stride);
      float* out = RowOf(task, row).out;
      const Vec16 total = Vec16::Splat(sum[1]);
      for (int64_t d = 0; d < head_dim; d += 16) {
        (Vec16::Load(sum + kPartialSums + d) / total).StoreFirst(out + d, head_dim - d < 16 ? head_dim - d : 16);
      }
    }
  }
};

}  // namespace slmmesh::kernels
