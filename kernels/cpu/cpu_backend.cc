// The backend over a table of kernels: checks bounds, splits work over the pool.
#include <algorithm>
#include <cstdlib>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cpu/attention.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/kv_layout.h"
#include "kernels/cpu/matmul.h"
#include "kernels/cpu/memory.h"
#include "kernels/cpu/pack.h"
#include "kernels/cpu/thread_pool.h"

namespace slmmesh::kernels {
namespace {

constexpr int64_t kElementsPerTask = 8 * 1024;  // of elementwise work: a few microseconds, worth waking a worker for

int64_t DivideUp(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Thread rule: one thread at a time, as it stands for one stream of work; PackPanel, Allocate and Free from any.
class CpuBackend : public Backend {
 public:
  CpuBackend(const KernelTable& kernels, int threads)
      : kernels_(kernels), pool_(threads), matmul_(kernels, pool_), attention_(kernels, pool_) {}

  std::string Describe() const override {
    const std::string threads = pool_.threads() == 1 ? "1 thread" : std::to_string(pool_.threads()) + " threads";
    return std::string("cpu ") + IsaName(kernels_.isa) + ", " + threads;
  }

  void* Allocate(size_t bytes) override { return AllocatePages(bytes); }
  void Free(void* pointer) override { FreePages(pointer); }
  void Populate(void* pointer, size_t bytes) override { PopulatePages(pointer, bytes); }

  size_t PackedBytes(const WeightFormat& format, int64_t n, int64_t k) const override {
    return PackedWeightBytes(format, n, k);
  }
  void PackPanel(WeightType type, const float* rows_f32, int64_t rows, int64_t panel, int64_t k,
                 void* packed) const override {
    PackWeightPanel(type, rows_f32, rows, panel, k, packed);
  }
  void PackPanel(const WeightFormat& format, const QuantizedRows& rows, int64_t panel, int64_t k,
                 void* packed) const override {
    PackIntegerPanel(format, rows, panel, k, packed);
  }

  size_t KvBlockBytes(KvType type, int64_t block_size, int64_t num_kv_heads, int64_t head_dim) const override {
    return static_cast<size_t>(KvLayout(type, block_size, num_kv_heads, head_dim).block_bytes());
  }

  void MatMul(const MatMulArgs& args) override { matmul_.Run(args); }

  void Add(float* a, const float* b, int64_t count) override {
    const auto never = [](int64_t /*task*/) { return false; };
    ForRows(DivideUp(count, kElementsPerTask), kElementsPerTask, never, [&](int64_t task) {
      const int64_t end = std::min(count, (task + 1) * kElementsPerTask);
      for (int64_t i = task * kElementsPerTask; i < end; ++i) a[i] += b[i];
    });
  }

  void RopeStore(const RopeStoreArgs& args) override {
    const SequenceLayout& layout = args.sequences;
    const int64_t width = (args.num_q_heads + 2 * args.cache.num_kv_heads) * args.cache.head_dim;
    CheckCache(args.cache);
    // The second of two positions that share words of the cache is stored by the task that has the first.
    const auto is_second = [&](int64_t token) { return layout.positions[token] % 2 == 1; };
    ForRows(layout.num_tokens, width, is_second, [&](int64_t token) {
      const uint32_t* end = layout.query_start + layout.num_sequences + 1;
      const int64_t sequence = std::upper_bound(layout.query_start, end, token) - layout.query_start - 1;
      kernels_.rope_store(args, sequence, token);
    });
  }

  void Attention(const AttentionArgs& args) override {
    CheckCache(args.cache);
    attention_.Run(args);
  }

 private:
  static void CheckCache(const KvCache& cache) {
    if (cache.head_dim % 2 != 0 || cache.head_dim > kMaxHeadDim || cache.block_size % kAttentionChunk != 0)
      std::abort();
  }

  // body(row) for rows of `width` elements, several rows to a task. A row that joins the one before is in its task.
  template <typename Joins, typename Body>
  void ForRows(int64_t rows, int64_t width, Joins joins, Body body) {
    int64_t tasks = DivideUp(rows * width, kElementsPerTask);
    if (tasks > 1) tasks = DivideUp(tasks, pool_.threads()) * pool_.threads();  // even shares
    tasks = std::min(tasks, rows);
    const auto start = [&](int64_t task) {
      const int64_t row = task * rows / tasks;
      return row > 0 && row < rows && joins(row) ? row + 1 : row;
    };
    pool_.For(tasks, [&](int64_t task, int /*worker*/) {
      for (int64_t row = start(task), end = start(task + 1); row < end; ++row) body(row);
    });
  }

  const KernelTable& kernels_;
  ThreadPool pool_;
  MatMulRunner matmul_;
  AttentionRunner attention_;
};

}  // namespace

std::unique_ptr<Backend> CreateCpuBackend(const KernelTable& kernels, int threads) {
  return std::make_unique<CpuBackend>(kernels, threads);
}

std::unique_ptr<Backend> CreateCpuBackend(const CpuOptions& options) {
  const std::vector<Isa> isas = SupportedIsas();
  const Isa isa = options.automatic_isa ? isas.back() : options.isa;
  if (std::find(isas.begin(), isas.end(), isa) == isas.end()) return nullptr;
  const int threads = options.threads > 0 ? options.threads : ThreadPool::AvailableCpus();
  return CreateCpuBackend(KernelsFor(isa), threads);
}

}  // namespace slmmesh::kernels
