#include "common/net.h"

#include <gtest/gtest.h>

#include "common/random.h"

namespace slmmesh {
namespace {

TEST(NetTest, SplitsAndJoins) {
  const struct {
    const char* address;
    const char* host;
    int port;
  } cases[] = {{"127.0.0.1:80", "127.0.0.1", 80}, {"head.ns.svc:0", "head.ns.svc", 0}, {"[::1]:65535", "::1", 65535}};
  for (const auto& test : cases) {
    const absl::StatusOr<HostPort> split = SplitHostPort(test.address);
    ASSERT_TRUE(split.ok()) << split.status();
    EXPECT_EQ(split->host, test.host);
    EXPECT_EQ(split->port, test.port);
    EXPECT_EQ(JoinHostPort(split->host, split->port), test.address);
  }
}

TEST(NetTest, RefusesWithAReason) {
  const struct {
    const char* address;
    const char* reason;
  } cases[] = {
      {"localhost", "the port is missing; write host:port"},
      {":80", "the host is missing; write host:port, or 0.0.0.0:port for all"},
      {"::1:80", "an IPv6 host needs brackets; write [host]:port"},
      {"[::1:80", "the bracket is not closed; write [host]:port"},
      {"a:65536", "the port '65536' is no number from 0 to 65535"},
      {"a:-1", "the port '-1' is no number from 0 to 65535"},
      {"a:", "the port '' is no number from 0 to 65535"},
  };
  for (const auto& test : cases) {
    EXPECT_EQ(SplitHostPort(test.address).status().message(),
              std::string("address '") + test.address + "': " + test.reason);
  }
}

TEST(RandomTest, IdsDiffer) {
  EXPECT_EQ(RandomHexId(4).size(), 8u);
  EXPECT_NE(RandomHexId(), RandomHexId());
  EXPECT_NE(RandomUint64(), RandomUint64());
}

}  // namespace
}  // namespace slmmesh
