// What the machine can do at this moment: taken right after each sample, since the ceilings of a shared machine move by
// a factor of two within minutes.
#pragma once

#include <cstddef>

#include "kernels/backend.h"
#include "kernels/cpu/thread_pool.h"
#include "worker/model/buffer.h"

namespace slmmesh {

// Not thread-safe: one thread measures.
class MachineProbe {
 public:
  // `backend` gives the memory that is read, far larger than any cache. 0 threads: all that this process may run on.
  static absl::StatusOr<std::unique_ptr<MachineProbe>> Create(kernels::Backend* backend, int threads);

  double ReadBytesPerSecond();
  // Of the instruction that bounds products with such weights, on the best instruction set of this machine.
  double PeakOperationsPerSecond(kernels::WeightType type);

 private:
  MachineProbe(Buffer arena, int threads) : arena_(std::move(arena)), pool_(threads) {}

  Buffer arena_;
  kernels::ThreadPool pool_;
};

}  // namespace slmmesh
