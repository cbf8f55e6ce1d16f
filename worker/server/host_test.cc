#include "worker/server/host.h"

#include <fstream>

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

}  // namespace
}  // namespace slmmesh
