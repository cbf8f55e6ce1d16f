#include "kernels/cpu/thread_pool.h"

#include <gtest/gtest.h>
#include <time.h>

#include <chrono>
#include <vector>

namespace slmmesh::kernels {
namespace {

TEST(ThreadPoolTest, EveryIndexOnce) {
  for (const int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.threads(), threads);
    for (const int64_t count : {0, 1, 2, 7, 1000}) {
      std::vector<int> done(count);  // plain ints: a race is for ThreadSanitizer to see
      pool.For(count, [&](int64_t index, int worker) {
        ASSERT_TRUE(worker >= 0 && worker < threads);
        ++done[index];
      });
      EXPECT_EQ(done, std::vector<int>(count, 1)) << threads << " threads";
    }
  }
}

// Each loop reads what the one before wrote on other workers.
TEST(ThreadPoolTest, LoopsFollowEachOther) {
  ThreadPool pool(4);
  std::vector<int64_t> values(64, 1), next(64);
  for (int round = 0; round < 2000; ++round) {
    pool.For(64, [&](int64_t i, int) { next[i] = values[(i + 17) % 64] + values[i] % 3; });
    pool.For(64, [&](int64_t i, int) { values[i] = next[i]; });
  }
  std::vector<int64_t> expected(64, 1), scratch(64);
  for (int round = 0; round < 2000; ++round) {
    for (int64_t i = 0; i < 64; ++i) scratch[i] = expected[(i + 17) % 64] + expected[i] % 3;
    expected = scratch;
  }
  EXPECT_EQ(values, expected);
}

TEST(ThreadPoolTest, WorkersJoinInAndStop) {
  for (int round = 0; round < 50; ++round) {
    ThreadPool pool(3);
    if (round % 2 == 0) continue;  // stops while its workers start or spin
    std::atomic<int> arrived = 0;
    bool done[2] = {};
    // Two indices that end only when both have begun, so a second worker must have come; one of them dawdles.
    pool.For(2, [&](int64_t index, int worker) {
      ++arrived;
      while (arrived.load() < 2) std::this_thread::yield();
      for (int i = 0; worker != 0 && i < 1000; ++i) std::this_thread::yield();
      done[index] = true;
    });
    EXPECT_TRUE(done[0] && done[1]);
  }
}

// While the wall's clock is said to go on, the thread gets next to no CPU: as one that others crowd out.
TEST(CpuShareTest, IsShortAfterSoManyWindowsWithoutACpu) {
  CpuShare share;
  auto now = CpuShare::Clock::now();
  share.Restart(now);
  EXPECT_FALSE(share.IsShort(now, 1));  // too early to tell
  for (const int windows : {1, 3}) {
    for (int i = 1; i < windows; ++i) EXPECT_FALSE(share.IsShort(now += CpuShare::kWindow, windows));
    EXPECT_TRUE(share.IsShort(now += CpuShare::kWindow, windows));
  }
}

// Works for a window's worth of CPU, and more by next to nothing, however long that takes.
void UseCpuForAWindow() {
  const auto used = [] {
    timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
  };
  for (const auto begin = used(); used() - begin < CpuShare::kWindow;) {
  }
}

TEST(CpuShareTest, IsNotShortWhileItGetsMostOfACpu) {
  UseCpuForAWindow();  // what was used before it began to watch is no share of a window
  CpuShare share;
  auto now = CpuShare::Clock::now();
  share.Restart(now);
  EXPECT_TRUE(share.IsShort(now += CpuShare::kWindow, 1));
  const auto window = [&](int percent) {
    UseCpuForAWindow();
    return share.IsShort(now += CpuShare::kWindow * 100 / percent, 1);
  };
  EXPECT_FALSE(window(100));
  EXPECT_FALSE(window(80));
  EXPECT_TRUE(window(30));
}

TEST(CpuShareTest, ShortWindowsAreToFollowEachOther) {
  CpuShare share;
  auto now = CpuShare::Clock::now();
  share.Restart(now);
  EXPECT_FALSE(share.IsShort(now += CpuShare::kWindow, 2));
  UseCpuForAWindow();
  EXPECT_FALSE(share.IsShort(now += CpuShare::kWindow, 2));
  EXPECT_FALSE(share.IsShort(now += CpuShare::kWindow, 2)) << "the one before was a good one";
  EXPECT_TRUE(share.IsShort(now += CpuShare::kWindow, 2));
}

}  // namespace
}  // namespace slmmesh::kernels
