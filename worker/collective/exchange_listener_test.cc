#include "worker/collective/exchange_listener.h"

#include <thread>

#include "gtest/gtest.h"
#include "worker/collective/testing.h"

namespace slmmesh {
namespace {

using collective_testing::TestCertificates;
using collective_testing::TestGroup;
using collective_testing::Transport;

// Rank 1 dials rank 0 of `group`, showing `tls` instead of the group's own certificate.
absl::Status DialWith(const TestGroup& group, const TlsFiles& tls, absl::Duration patience) {
  GroupJoin join = group.JoinOf(1);
  join.join_timeout = patience;
  return ConnectTcp(join, {tls, "test", nullptr}).status();
}

// Rank 0 waits for rank 1 while somebody dials as rank 1 with `tls`: neither side gets a connection.
void ExpectRefused(const TestGroup& group, const TlsFiles& tls) {
  std::thread dialing([&] { EXPECT_FALSE(DialWith(group, tls, absl::Milliseconds(600)).ok()); });
  GroupJoin join = group.JoinOf(0);
  join.join_timeout = absl::Milliseconds(300);
  EXPECT_EQ(ConnectTcp(join, group.TcpOf(0)).status().code(), absl::StatusCode::kDeadlineExceeded);
  dialing.join();
}

TEST(ExchangeListener, AStrangersCertificateIsRefused) {
  const TestGroup group(Transport::kTcp, 2, absl::Seconds(5));
  TestCertificates others("test");
  ExpectRefused(group, others.Issue(Role::kWorker));
}

TEST(ExchangeListener, OnlyWorkersMayCall) {
  const TestGroup group(Transport::kTcp, 2, absl::Seconds(5));
  ExpectRefused(group, group.certificates().Issue(Role::kRouter));
}

TEST(ExchangeListener, AnotherEpochsConnectionIsNotTaken) {
  const TestGroup group(Transport::kTcp, 2, absl::Seconds(5));
  GroupJoin dialing = group.JoinOf(1);
  dialing.epoch += 1;
  dialing.join_timeout = absl::Milliseconds(300);
  EXPECT_EQ(ConnectTcp(dialing, group.TcpOf(1)).status().code(), absl::StatusCode::kDeadlineExceeded);
  GroupJoin taking = group.JoinOf(0);
  taking.join_timeout = absl::Milliseconds(1);
  EXPECT_EQ(ConnectTcp(taking, group.TcpOf(0)).status().code(), absl::StatusCode::kDeadlineExceeded);
}

TEST(ExchangeListener, ABadAddressIsRefusedAtStart) {
  TestCertificates certificates("test");
  EXPECT_FALSE(ExchangeListener::Start({"nowhere", certificates.Issue(Role::kWorker), "test"}).ok());
}

}  // namespace
}  // namespace slmmesh
