// Splits the attention of a step over the pool: by sequence, KV head and rows. Where that makes too few tasks for the
// threads (a decode of few sequences), a task is one span of positions, or has fewer rows.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/thread_pool.h"

namespace slmmesh::kernels {

// Thread rule: one call of Run at a time.
class AttentionRunner {
 public:
  AttentionRunner(const KernelTable& kernels, ThreadPool& pool) : kernels_(kernels), pool_(pool) {}
  void Run(const AttentionArgs& args);

 private:
  struct Sequence {
    int64_t first_task;
    int64_t rows, rows_per_task, row_blocks;
    int64_t spans;          // 0: a task covers all of them
    int64_t partial_lines;  // where its partials begin
  };
  struct alignas(64) Line {
    float floats[16];
  };

  // Fills sequences_ and sizes partials_; returns the number of tasks.
  int64_t Plan(const AttentionArgs& args);
  int64_t CutRows(const AttentionArgs& args, int64_t rows_per_task);  // into tasks over all spans
  int64_t CutSpans(const AttentionArgs& args);  // of the sequences that have more spans than blocks of rows
  void RunTask(const AttentionArgs& args, int64_t index);
  void Join(const AttentionArgs& args, const Sequence& sequence, int64_t kv_head);
  float* Partials(const AttentionArgs& args, const Sequence& sequence, int64_t kv_head, int64_t span);
  AttentionTask WholeTask(const AttentionArgs& args, const Sequence& sequence, int64_t kv_head) const;

  const KernelTable& kernels_;
  ThreadPool& pool_;
  // Both keep their memory. Partials take less than a tenth of the keys and values of the layer that they are of.
  std::vector<Sequence> sequences_;
  std::vector<Line> partials_;
  bool any_split_ = false;
};

}  // namespace slmmesh::kernels
