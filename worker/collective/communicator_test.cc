// One set of cases for every transport: what communicator.h promises.
#include "worker/collective/communicator.h"

#include <cstring>
#include <functional>
#include <iostream>
#include <map>
#include <random>
#include <thread>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/collective/testing.h"

namespace slmmesh {
namespace {

using collective_testing::TestGroup;
using collective_testing::Transport;
using collective_testing::TransportName;
using Ranks = std::vector<std::unique_ptr<Communicator>>;

struct Case {
  Transport transport;
  int size;
};

class CommunicatorTest : public testing::TestWithParam<Case> {
 protected:
  CommunicatorTest() : seed_(std::random_device{}()) { std::cout << "seed " << seed_ << std::endl; }

  Ranks Connect(absl::Duration operation_timeout = absl::Seconds(30)) {
    return TestGroup(GetParam().transport, GetParam().size, operation_timeout).ConnectAll();
  }
  // Runs `body` as every rank at once.
  static void AsRanks(const Ranks& ranks, const std::function<void(Communicator&)>& body) {
    std::vector<std::thread> threads;
    for (const auto& rank : ranks) threads.emplace_back([&] { body(*rank); });
    for (std::thread& thread : threads) thread.join();
  }
  std::vector<float> DataOf(int rank, size_t count) const {
    std::mt19937 random(seed_ + rank);
    std::normal_distribution<float> normal;
    std::vector<float> data(count);
    for (float& value : data) value = normal(random) * std::exp2(static_cast<float>(random() % 16));
    return data;
  }
  // sum(lo, hi) = sum(lo, mid) + sum(mid, hi), absent ranks left out: written anew, as an oracle.
  static std::vector<float> Expected(const std::vector<std::vector<float>>& data, uint32_t mask, size_t lo, size_t hi) {
    if (hi - lo == 1) return mask >> lo & 1 ? data[lo] : std::vector<float>();
    std::vector<float> left = Expected(data, mask, lo, (lo + hi) / 2);
    const std::vector<float> right = Expected(data, mask, (lo + hi) / 2, hi);
    if (left.empty()) return right;
    for (size_t i = 0; i < right.size(); ++i) left[i] += right[i];
    return left;
  }

  const uint32_t seed_;
};

TEST_P(CommunicatorTest, SumsInHalvingOrderToTheBitOnEveryRank) {
  const int size = GetParam().size;
  const Ranks ranks = Connect();
  for (const size_t count : {1u, 576u, 4096u, 32768u, 32769u, 100000u}) {
    std::vector<std::vector<float>> data;
    for (int rank = 0; rank < size; ++rank) data.push_back(DataOf(rank, count));
    for (const uint32_t mask : {1u, (1u << size) - 1, 1u << (size - 1) | 1, 0x55u & ((1u << size) - 1)}) {
      const std::vector<float> expected = Expected(data, mask, 0, size);
      std::vector<std::vector<float>> results(size);
      AsRanks(ranks, [&](Communicator& rank) {
        std::vector<float> mine = data[rank.rank()];
        EXPECT_TRUE(rank.AllReduceSum(absl::MakeSpan(mine), mask).ok());
        results[rank.rank()] = std::move(mine);
      });
      for (int rank = 0; rank < size; ++rank) {
        ASSERT_EQ(std::memcmp(results[rank].data(), expected.data(), count * sizeof(float)), 0)
            << "rank " << rank << " count " << count << " mask " << mask;
      }
    }
  }
}

// Many rounds back to back, of kinds and lengths that every rank draws from the same seed: nobody overtakes anybody.
TEST_P(CommunicatorTest, RandomRunsOfCollectivesKeepInStep) {
  const int size = GetParam().size;
  const Ranks ranks = Connect();
  AsRanks(ranks, [&](Communicator& rank) {
    std::mt19937 random(seed_);
    for (int round = 0; round < 300; ++round) {
      const size_t count = random() % 2 ? random() % 300 : random() % 40000;
      const uint32_t kind = random() % 3;
      if (kind == 0) {
        std::vector<float> data(count, static_cast<float>(rank.rank() + round));
        ASSERT_TRUE(rank.AllReduceSum(absl::MakeSpan(data), (1u << size) - 1).ok());
        const int pairs = size * (size - 1) / 2;
        const auto sum = static_cast<float>(pairs + size * round);
        for (float value : data) ASSERT_EQ(value, sum) << "round " << round;
      } else if (kind == 1) {
        const std::string sent(count * 7, static_cast<char>('a' + round % 26));
        std::string bytes = rank.rank() == 0 ? sent : "stale";
        ASSERT_TRUE(rank.Broadcast(&bytes, absl::Seconds(30)).ok());
        ASSERT_EQ(bytes, sent) << "round " << round;
      } else {
        std::vector<size_t> counts;
        for (int r = 0; r < size; ++r) counts.push_back(r == 1 ? 0 : count + r);
        std::vector<float> local(counts[rank.rank()], static_cast<float>(rank.rank() * 1000 + round));
        std::vector<float> all(rank.rank() == 0 ? count * size + 64 : 0, -1);
        ASSERT_TRUE(rank.GatherToRoot(local, counts, all.data()).ok());
        size_t next = 0;
        for (int r = 0; rank.rank() == 0 && r < size; ++r) {
          for (size_t i = 0; i < counts[r]; ++i) ASSERT_EQ(all[next++], static_cast<float>(r * 1000 + round));
        }
        if (rank.rank() == 0) {
          ASSERT_EQ(all[next], -1);
        }
      }
    }
  });
}

TEST_P(CommunicatorTest, BroadcastsNothingAndMegabytes) {
  const Ranks ranks = Connect();
  for (const size_t length : {0u, 1u, 131064u, 131065u, 5000000u}) {
    AsRanks(ranks, [&](Communicator& rank) {
      std::string sent(length, '\0');
      for (size_t i = 0; i < length; ++i) sent[i] = static_cast<char>(i * 2654435761u >> 24);
      std::string bytes = rank.rank() == 0 ? sent : "stale";
      EXPECT_TRUE(rank.Broadcast(&bytes, absl::Seconds(30)).ok());
      EXPECT_EQ(bytes == sent, true) << length;
    });
  }
}

TEST_P(CommunicatorTest, AbortEndsAWaitAndAllThatFollowsOnEveryRank) {
  if (GetParam().size == 1) GTEST_SKIP() << "a group of one never waits";
  const Ranks ranks = Connect();
  std::vector<float> data(100);
  std::thread waiter([&] {
    std::string bytes;
    EXPECT_EQ(ranks[1]->Broadcast(&bytes, absl::Minutes(10)).code(), absl::StatusCode::kUnavailable);
  });
  ranks[1]->Abort("a test");  // before the wait, or in it: both must end it
  waiter.join();
  const absl::Status later = ranks[1]->AllReduceSum(absl::MakeSpan(data), 1);
  EXPECT_EQ(later.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(later.message()), testing::HasSubstr("a test"));
  // A peer may have room for one more message of its own, but what needs the ended rank fails, well before the
  // deadline.
  EXPECT_EQ(ranks[0]->AllReduceSum(absl::MakeSpan(data), (1u << ranks.size()) - 1).code(),
            absl::StatusCode::kUnavailable);
}

TEST_P(CommunicatorTest, ASilentRankIsADeadlineAndNotAHang) {
  if (GetParam().size == 1) GTEST_SKIP() << "a group of one never waits";
  const Ranks ranks = Connect(absl::Milliseconds(50));
  std::vector<float> data(100);
  EXPECT_EQ(ranks[0]->AllReduceSum(absl::MakeSpan(data), (1u << ranks.size()) - 1).code(),
            absl::StatusCode::kDeadlineExceeded);
  const Ranks listeners = Connect();
  std::string bytes;
  EXPECT_EQ(listeners[1]->Broadcast(&bytes, absl::Milliseconds(50)).code(), absl::StatusCode::kDeadlineExceeded);
}

TEST_P(CommunicatorTest, ARankThatLeavesEndsTheOthersWait) {
  if (GetParam().size == 1) GTEST_SKIP() << "a group of one never waits";
  Ranks ranks = Connect();
  ranks.back().reset();
  std::vector<float> data(100);
  EXPECT_EQ(ranks[0]->AllReduceSum(absl::MakeSpan(data), (1u << ranks.size()) - 1).code(),
            absl::StatusCode::kUnavailable);
}

std::vector<Case> Cases() {
  std::vector<Case> cases = {{Transport::kLocal, 1}};
  for (int size : {2, 4, 8}) {
    cases.push_back({Transport::kSharedMemory, size});
    cases.push_back({Transport::kTcp, size});
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Transports, CommunicatorTest, testing::ValuesIn(Cases()), [](const auto& info) {
  return absl::StrCat(TransportName(info.param.transport), info.param.size);
});

TEST(ConnectGroup, RefusesSizesThatAreNoPowerOfTwoUpToEight) {
  GroupJoin join;
  join.members.resize(3);
  EXPECT_EQ(ConnectGroup(join, {}).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(ConnectGroup, EndsWithoutItsPeersAtTheDeadlineOrWhenCancelled) {
  for (const Transport transport : {Transport::kSharedMemory, Transport::kTcp}) {
    const TestGroup group(transport, 2, absl::Seconds(1));
    for (int rank : {0, 1}) {
      GroupJoin join = group.JoinOf(rank);
      join.join_timeout = absl::Milliseconds(30);
      const absl::Status late = ConnectGroup(join, group.TcpOf(rank)).status();
      EXPECT_EQ(late.code(), absl::StatusCode::kDeadlineExceeded) << TransportName(transport) << rank;
      const char* chosen = transport == Transport::kTcp ? "exchange" : "shared memory";
      EXPECT_THAT(std::string(late.message()), testing::HasSubstr(chosen));
      join.join_timeout = absl::Minutes(10);
      join.cancelled = [] { return true; };
      EXPECT_EQ(ConnectGroup(join, group.TcpOf(rank)).status().code(), absl::StatusCode::kCancelled)
          << TransportName(transport) << rank;
    }
  }
}

}  // namespace
}  // namespace slmmesh
