// A pool for loops of a few microseconds. The caller is worker 0 and works too; the others spin for a moment after
// each loop and then park. The caller waits only for workers that entered the loop: one that is slow to wake finds its
// share already done and stays out. So a CPU that another program shares would cost more than it gives: a worker that
// is descheduled within a loop stops them all. Hence a thread that does not get its CPU is noticed: a worker then stays
// away for a while, at first short; for the caller a worker does, so that the kernel has a CPU to move the caller to.
//
// Thread rule: one thread at a time calls For; bodies run on all workers and must not call For.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "kernels/cpu/cpu_share.h"

namespace slmmesh::kernels {

class ThreadPool {
 public:
  explicit ThreadPool(int threads);  // at least 1
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return threads_; }

  // body(index, worker) for every index in [0, count), worker in [0, threads()). Each worker begins with a contiguous
  // share and then takes what others have left.
  template <typename Body>
  void For(int64_t count, const Body& body) {
    if (threads_ == 1 || count <= 1) {
      for (int64_t i = 0; i < count; ++i) body(i, 0);
      return;
    }
    Run(
        count, [](const void* b, int64_t index, int worker) { (*static_cast<const Body*>(b))(index, worker); }, &body);
  }

  static int AvailableCpus();  // that this process may run on

 private:
  using Call = void (*)(const void* body, int64_t index, int worker);
  struct alignas(64) Share {
    std::atomic<int64_t> next{0};
    int64_t end = 0;
  };

  void Run(int64_t count, Call call, const void* body);
  void WorkerMain(int worker);
  uint64_t WaitForLoop(uint64_t last_loop, CpuShare& share);
  void StayAway(std::chrono::milliseconds time);
  void Work(int worker);

  const int threads_;
  // state_ = loop number * 2^32 | kOpen | number of workers inside. Workers enter (and so read the fields below) only
  // while it is open; the caller writes them only while it is closed and nobody is inside.
  alignas(64) std::atomic<uint64_t> state_{0};
  alignas(64) std::atomic<int> parked_{0};
  Call call_ = nullptr;
  const void* body_ = nullptr;
  std::unique_ptr<Share[]> shares_;

  CpuShare caller_share_;
  CpuShare::Clock::time_point last_end_;           // of a loop
  alignas(64) std::atomic<bool> give_way_{false};  // the last worker is to make room for the caller

  std::mutex mutex_;  // of the parked
  std::condition_variable wake_;
  std::condition_variable away_;  // of those that stay away
  std::atomic<bool> stop_{false};
  std::vector<std::thread> workers_;
};

}  // namespace slmmesh::kernels
