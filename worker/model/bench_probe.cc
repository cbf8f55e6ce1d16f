#include "worker/model/bench_probe.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <numeric>
#include <vector>

#include "common/status.h"
#include "kernels/bench_probes.h"

namespace slmmesh {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kArenaBytes = size_t{512} << 20;
constexpr size_t kChunkBytes = size_t{64} << 10;
constexpr int64_t kPeakRounds = 2'000'000;
constexpr int kTries = 3;

template <typename Work>
double Seconds(const Work& work) {
  // The pool that ran last still spins: give it time to park.
  for (const auto until = Clock::now() + std::chrono::microseconds(300); Clock::now() < until;) {
  }
  const auto start = Clock::now();
  work();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// A ceiling is what was reached: a try that something else cut short is none.
template <typename Probe>
double BestOf(const Probe& probe) {
  double best = 0;
  for (int i = 0; i < kTries; ++i) best = std::max(best, probe());
  return best;
}

}  // namespace

absl::StatusOr<std::unique_ptr<MachineProbe>> MachineProbe::Create(kernels::Backend* backend, int threads) {
  ASSIGN_OR_RETURN(Buffer arena, Buffer::Create(backend, kArenaBytes, "the read probe"));
  std::memset(arena.data(), 1, kArenaBytes);  // zeroed pages may all be one page
  if (threads == 0) threads = kernels::ThreadPool::AvailableCpus();
  return std::unique_ptr<MachineProbe>(new MachineProbe(std::move(arena), threads));
}

double MachineProbe::ReadBytesPerSecond() {
  std::atomic<uint64_t> sink = 0;
  return BestOf([&] {
    const double seconds = Seconds([&] {
      pool_.For(kArenaBytes / kChunkBytes, [&](int64_t i, int) {
        sink ^= kernels::ReadBytes(static_cast<const char*>(arena_.data()) + i * kChunkBytes, kChunkBytes);
      });
    });
    return static_cast<double>(kArenaBytes) / seconds;
  });
}

double MachineProbe::PeakOperationsPerSecond(kernels::WeightType type) {
  const kernels::Isa isa = kernels::SupportedIsas().back();
  std::vector<double> operations(static_cast<size_t>(pool_.threads()));
  return BestOf([&] {
    const double seconds = Seconds([&] {
      pool_.For(pool_.threads(), [&](int64_t i, int) {
        operations[static_cast<size_t>(i)] = kernels::RunPeakLoop(isa, type, kPeakRounds);
      });
    });
    return std::accumulate(operations.begin(), operations.end(), 0.0) / seconds;
  });
}

}  // namespace slmmesh
