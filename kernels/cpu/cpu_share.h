// Whether a thread that wants a CPU all the time also gets one, or another program has a good part of it.
#pragma once

#include <time.h>

#include <chrono>

namespace slmmesh::kernels {

// Thread rule: belongs to the thread that it watches.
class CpuShare {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds kWindow{5};  // no thread of the kernel's, nor a short burst, fills it

  // To be called when the thread was idle of its own will.
  void Restart(Clock::time_point now) {
    wall_ = now;
    cpu_ns_ = CpuNanoseconds();
  }

  // True where the thread got less than 70 % of the time in `windows` after each other. Asks the kernel once a window.
  bool IsShort(Clock::time_point now, int windows) {
    if (now - wall_ < kWindow) return false;
    const int64_t cpu_ns = CpuNanoseconds();
    const int64_t wall_ns = std::chrono::nanoseconds(now - wall_).count();
    short_windows_ = 10 * (cpu_ns - cpu_ns_) < 7 * wall_ns ? short_windows_ + 1 : 0;
    wall_ = now;
    cpu_ns_ = cpu_ns;
    if (short_windows_ < windows) return false;
    short_windows_ = 0;
    return true;
  }

 private:
  static int64_t CpuNanoseconds() {
    timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
  }

  Clock::time_point wall_;
  int64_t cpu_ns_ = 0;
  int short_windows_ = 0;  // the last so many
};

}  // namespace slmmesh::kernels
