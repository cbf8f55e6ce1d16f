// A rank is killed as a process is: the others get an error and do not hang.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "worker/collective/testing.h"

namespace slmmesh {
namespace {

using collective_testing::TestGroup;
using collective_testing::Transport;
using collective_testing::TransportName;

class CommunicatorDeathTest : public testing::TestWithParam<Transport> {};

// Rank 1 lives in a child process, joins, answers one all-reduce, then says nothing more until it is killed.
[[noreturn]] void LiveAsRankOne(const TestGroup& group) {
  auto rank = group.Connect(1);
  if (!rank.ok()) _exit(1);
  std::vector<float> data = {2};
  if (!(*rank)->AllReduceSum(absl::MakeSpan(data), 3).ok()) _exit(2);
  while (true) pause();
}

TEST_P(CommunicatorDeathTest, AKilledRankIsAnErrorForTheOthers) {
  const TestGroup group(GetParam(), 2, absl::Minutes(10));
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) LiveAsRankOne(group);
  auto rank = group.Connect(0);
  ASSERT_TRUE(rank.ok()) << rank.status();
  std::vector<float> data = {1};
  ASSERT_TRUE((*rank)->AllReduceSum(absl::MakeSpan(data), 3).ok());
  EXPECT_EQ(data[0], 3);
  std::thread killer([child] { kill(child, SIGKILL); });  // before the next wait, or in it
  EXPECT_EQ((*rank)->AllReduceSum(absl::MakeSpan(data), 3).code(), absl::StatusCode::kUnavailable);
  killer.join();
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status)) << "the child ended by itself: " << status;
}

INSTANTIATE_TEST_SUITE_P(Transports, CommunicatorDeathTest, testing::Values(Transport::kSharedMemory, Transport::kTcp),
                         [](const auto& info) { return std::string(TransportName(info.param)); });

}  // namespace
}  // namespace slmmesh
