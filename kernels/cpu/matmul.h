// The matrix product of every instruction set: packs x, splits the work, walks leaves and K blocks. The tile kernels
// underneath only ever extend chains in ascending k, so no choice made here changes a bit.
#pragma once

#include <algorithm>
#include <memory>

#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/panel_sums.h"
#include "kernels/cpu/thread_pool.h"

namespace slmmesh::kernels {

// x as the kernels of float weights take it.
struct Activations {
  const char* rows;
  int64_t stride;         // elements from one row to the next
  int64_t element_bytes;  // 4 or 2
};

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

  // body(row) makes a row of x ready for the product: in one thread where there is little of it.
  template <typename Body>
  void ForRowsOfX(const MatMulArgs& args, const Body& body) {
    const int64_t tasks = args.m * args.k > kSerialPackElements ? std::min<int64_t>(args.m, 2 * pool_.threads()) : 1;
    pool_.For(tasks, [&](int64_t task, int /*worker*/) {
      for (int64_t row = task * args.m / tasks; row < (task + 1) * args.m / tasks; ++row) body(row);
    });
  }

  // Cuts the product into tasks of one panel and a group of rows: run_leaf(part, leaf) for each of a task's leaves.
  template <typename RunLeaf>
  void RunPanels(const MatMulArgs& args, int64_t tile_rows, const RunLeaf& run_leaf) {
    const int64_t panels = (args.n + kPanelColumns - 1) / kPanelColumns;
    const int64_t groups = RowGroups(args.m, tile_rows, panels, pool_.threads());
    // By groups of rows: a thread begins with those that it has made ready, which are in its own cache.
    pool_.For(groups * panels, [&](int64_t index, int worker) {
      const int64_t group = index / panels, panel = index % panels;
      const int64_t first = group * args.m / groups, end = (group + 1) * args.m / groups;
      PanelSums sums(args, kernels_, panel, first, kGroupRows, static_cast<float*>(sums_[worker].get()));
      const PanelPart part = {panel, worker, first, RowTiles(end - first, tile_rows), sums};
      sums.Run(end - first, [&](int leaf) { run_leaf(part, leaf); });
    });
  }

  void RunInteger(const MatMulArgs& args);  // integer_matmul.cc
  Activations PackActivations(const MatMulArgs& args, const MatMulKernels& kernels);

  const KernelTable& kernels_;
  ThreadPool& pool_;
  Buffer packed_;  // grows to the largest x seen
  size_t packed_bytes_ = 0;
  std::unique_ptr<Buffer[]> sums_;     // per worker
  std::unique_ptr<Buffer[]> widened_;  // per worker: a block of int4 weights in int8
};

}  // namespace slmmesh::kernels
