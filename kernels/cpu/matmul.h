// The matrix product of every instruction set: packs x, splits the work, walks leaves and K blocks. The tile kernels
// underneath only ever extend chains in ascending k, so no choice made here changes a bit.
#pragma once

#include <memory>

#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/thread_pool.h"

namespace slmmesh::kernels {

// Thread rule: one call of Run at a time.
class MatMulRunner {
 public:
  MatMulRunner(const KernelTable& kernels, ThreadPool& pool);
  void Run(const MatMulArgs& args);

 private:
  struct Free {
    void operator()(void* pointer) const;
  };
  using Buffer = std::unique_ptr<void, Free>;
  static Buffer MakeBuffer(size_t bytes);

  void ReservePacked(size_t bytes);
  void RunInteger(const MatMulArgs& args);  // integer_matmul.cc
  const void* PackActivations(const MatMulArgs& args, const MatMulKernels& kernels);

  const KernelTable& kernels_;
  ThreadPool& pool_;
  Buffer packed_;  // grows to the largest x seen
  size_t packed_bytes_ = 0;
  std::unique_ptr<Buffer[]> sums_;     // per worker
  std::unique_ptr<Buffer[]> widened_;  // per worker: a block of int4 weights in int8
};

void PackRowsFloat32(const float* x, int64_t x_stride, int64_t rows, int64_t k, void* packed);

}  // namespace slmmesh::kernels
