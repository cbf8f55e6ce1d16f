#include "kernels/cpu/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <chrono>

namespace slmmesh::kernels {
namespace {

constexpr uint64_t kOpen = uint64_t{1} << 31;
constexpr uint64_t kInsideMask = kOpen - 1;
constexpr std::chrono::microseconds kSpin{100};  // a parked thread takes 20 to 40 us to wake
constexpr int kPausesPerClockRead = 64;

// How long a worker without its CPU stays away: twice as long each time, until it was back for kSettled undisturbed.
constexpr std::chrono::milliseconds kShortestAway{8}, kLongestAway{128}, kSettled{100};
// So many windows without a fair share are no short burst of another program's; one is enough after an absence.
constexpr int kShortWindows = 4;
constexpr std::chrono::microseconds kCallerIdle{200};  // between loops: longer, and it waits for something itself

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

uint64_t LoopOf(uint64_t state) { return state >> 32; }

}  // namespace

int ThreadPool::AvailableCpus() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return CPU_COUNT(&set);
  const unsigned cpus = std::thread::hardware_concurrency();
  return cpus == 0 ? 1 : static_cast<int>(cpus);
}

ThreadPool::ThreadPool(int threads) : threads_(threads < 1 ? 1 : threads), shares_(new Share[threads_]) {
  for (int worker = 1; worker < threads_; ++worker) workers_.emplace_back([this, worker] { WorkerMain(worker); });
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard lock(mutex_);
    stop_.store(true);
  }
  wake_.notify_all();
  away_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::Run(int64_t count, Call call, const void* body) {
  const auto start = CpuShare::Clock::now();
  if (start - last_end_ > kCallerIdle) {
    caller_share_.Restart(start);
  } else if (caller_share_.IsShort(start, kShortWindows)) {
    give_way_.store(true, std::memory_order_relaxed);
  }
  call_ = call;
  body_ = body;
  for (int worker = 0; worker < threads_; ++worker) {
    shares_[worker].next.store(count * worker / threads_, std::memory_order_relaxed);
    shares_[worker].end = count * (worker + 1) / threads_;
  }
  const uint64_t loop = LoopOf(state_.load(std::memory_order_relaxed)) + 1;
  state_.store(loop << 32 | kOpen);  // sequentially consistent, as is the read of parked_: one of the two sides sees
  if (parked_.load() > 0) {          // the other (see WaitForLoop)
    std::lock_guard lock(mutex_);
    wake_.notify_all();
  }
  Work(0);
  state_.fetch_and(~kOpen);
  // A worker inside may have lost its CPU to another process: after a while, offer ours.
  for (int pauses = 0; (state_.load(std::memory_order_acquire) & kInsideMask) != 0; ++pauses) {
    if (pauses < 4096) {
      Pause();
    } else {
      std::this_thread::yield();
    }
  }
  last_end_ = CpuShare::Clock::now();
}

void ThreadPool::WorkerMain(int worker) {
  CpuShare share;
  auto away = kShortestAway;
  auto back = CpuShare::Clock::now();
  share.Restart(back);
  for (uint64_t loop = 0; !stop_.load(std::memory_order_relaxed);) {
    const auto now = CpuShare::Clock::now();
    const bool gives_way = worker + 1 == threads_ && give_way_.load(std::memory_order_relaxed);
    if (now - back > kSettled) away = kShortestAway;
    if (share.IsShort(now, away == kShortestAway ? kShortWindows : 1) || gives_way) {
      StayAway(away);
      away = std::min(2 * away, kLongestAway);
      give_way_.store(false, std::memory_order_relaxed);
      back = CpuShare::Clock::now();
      share.Restart(back);
    }
    uint64_t state = WaitForLoop(loop, share);
    if (!(state & kOpen) || LoopOf(state) == loop) continue;  // woken to stop, or too late
    if (!state_.compare_exchange_strong(state, state + 1)) continue;
    loop = LoopOf(state);
    Work(worker);
    state_.fetch_sub(1, std::memory_order_release);
  }
}

// Returns once the state is open with another loop than `last_loop`, or the pool stops.
uint64_t ThreadPool::WaitForLoop(uint64_t last_loop, CpuShare& share) {
  const auto is_new = [&](uint64_t state) { return (state & kOpen) && LoopOf(state) != last_loop; };
  const auto give_up = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < kPausesPerClockRead; ++i) {
      const uint64_t state = state_.load();
      if (is_new(state)) return state;
      Pause();
    }
  } while (std::chrono::steady_clock::now() < give_up && !stop_.load(std::memory_order_relaxed));
  std::unique_lock lock(mutex_);
  parked_.fetch_add(1);
  uint64_t state = state_.load();
  wake_.wait(lock, [&] { return is_new(state = state_.load()) || stop_.load(); });
  parked_.fetch_sub(1);
  share.Restart(CpuShare::Clock::now());
  return state;
}

void ThreadPool::StayAway(std::chrono::milliseconds time) {
  std::unique_lock lock(mutex_);
  away_.wait_for(lock, time, [this] { return stop_.load(); });
}

void ThreadPool::Work(int worker) {
  for (int i = 0; i < threads_; ++i) {
    Share& share = shares_[(worker + i) % threads_];
    for (;;) {
      const int64_t index = share.next.fetch_add(1, std::memory_order_relaxed);
      if (index >= share.end) break;
      call_(body_, index, worker);
    }
  }
}

}  // namespace slmmesh::kernels
