#include "worker/server/host.h"

#include <filesystem>
#include <fstream>

#include "common/files.h"
#include "common/temporary_folder.h"
#include "gtest/gtest.h"

namespace slmmesh {
namespace {

TEST(Host, AvailableMemoryIsSomeOfWhatTheMachineHas) {
  std::ifstream file("/proc/meminfo");
  std::string key;
  uint64_t total_kib = 0;
  file >> key >> total_kib;
  ASSERT_EQ(key, "MemTotal:");
  EXPECT_GT(AvailableMemoryBytes(), 0u);
  EXPECT_LE(AvailableMemoryBytes(), total_kib * 1024);
}

TEST(Host, HasAtLeastOneCoreAndOneName) {
  EXPECT_GE(UsableCores(), 1);
  EXPECT_FALSE(HostName().empty());
  EXPECT_EQ(HostId(), HostId());
  EXPECT_GT(HostId().size(), 2u);
}

// A /proc and a /sys of our own.
class ContainerTest : public testing::Test {
 protected:
  ContainerTest() { Put("/proc/meminfo", "MemTotal: 1000 kB\nMemAvailable:     900 kB\n"); }
  void Put(const std::string& path, const std::string& text) {
    const std::string file = root_.path() + path;
    std::filesystem::create_directories(std::filesystem::path(file).parent_path());
    ASSERT_TRUE(WriteFileAtomic(file, text).ok());
  }
  uint64_t AvailableKib() { return AvailableMemoryBytes(root_.path()) / 1024; }
  std::optional<int> Cores() { return CoresOfContainer(root_.path()); }

  TemporaryFolder root_;
};

TEST_F(ContainerTest, WithoutLimitsTheMachineCounts) {
  EXPECT_EQ(AvailableKib(), 900u);
  EXPECT_EQ(Cores(), std::nullopt);
  Put("/proc/self/cgroup", "0::/\n");
  Put("/sys/fs/cgroup/memory.max", "max\n");
  Put("/sys/fs/cgroup/memory.current", "4096\n");
  Put("/sys/fs/cgroup/cpu.max", "max 100000\n");
  EXPECT_EQ(AvailableKib(), 900u);
  EXPECT_EQ(Cores(), std::nullopt);
}

TEST_F(ContainerTest, LimitsOfVersionTwo) {
  Put("/proc/self/cgroup", "0::/\n");
  Put("/sys/fs/cgroup/memory.max", "512000\n");
  Put("/sys/fs/cgroup/memory.current", "307200\n");
  Put("/sys/fs/cgroup/memory.stat", "anon 1\ninactive_file 102400\nactive_file 51200\n");
  Put("/sys/fs/cgroup/cpu.max", "350000 100000\n");
  EXPECT_EQ(AvailableKib(), (512000u - (307200 - 153600)) / 1024);
  EXPECT_EQ(Cores(), 3);
  Put("/sys/fs/cgroup/cpu.max", "50000 100000\n");
  EXPECT_EQ(Cores(), 1);
}

TEST_F(ContainerTest, LimitsOfVersionOne) {
  Put("/proc/self/cgroup", "4:memory:/kubepods/pod1\n2:cpu,cpuacct:/kubepods/pod1\n");
  Put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "204800\n");
  Put("/sys/fs/cgroup/memory/memory.usage_in_bytes", "409600\n");
  Put("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "200000\n");
  Put("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(AvailableKib(), 0u);
  EXPECT_EQ(Cores(), 2);
  Put("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
  EXPECT_EQ(Cores(), std::nullopt);
}

TEST_F(ContainerTest, TheLeastLimitOnTheWayUpCounts) {
  Put("/proc/self/cgroup", "0::/slice/service\n");
  Put("/sys/fs/cgroup/slice/memory.max", "204800\n");
  Put("/sys/fs/cgroup/slice/memory.current", "0\n");
  Put("/sys/fs/cgroup/slice/service/memory.max", "409600\n");
  Put("/sys/fs/cgroup/slice/service/memory.current", "0\n");
  Put("/sys/fs/cgroup/slice/service/cpu.max", "200000 100000\n");
  EXPECT_EQ(AvailableKib(), 200u);
  EXPECT_EQ(Cores(), 2);
}

}  // namespace
}  // namespace slmmesh
