#include "operator/kube/work_queue.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "operator/kube/testing/eventually.h"

namespace slmmesh::kube {
namespace {

constexpr absl::Duration kMs = absl::Milliseconds(1);

class WorkQueueTest : public ::testing::Test {
 protected:
  // The next key that is due; "" when none is (Get would wait).
  std::string Next() { return queue_->size() == 0 ? "" : *queue_->Get(); }

  FakeClock clock_;
  std::unique_ptr<WorkQueue> queue_ = WorkQueue::Create({absl::Milliseconds(5), absl::Seconds(60), &clock_});
};

TEST_F(WorkQueueTest, GivesEachKeyOnceInOrder) {
  queue_->Add("a");
  queue_->Add("b");
  queue_->Add("a");
  EXPECT_EQ(queue_->size(), 2u);
  EXPECT_EQ(Next(), "a");
  EXPECT_EQ(Next(), "b");
  EXPECT_EQ(Next(), "");
}

TEST_F(WorkQueueTest, AKeyInWorkComesOnceMoreAfterDone) {
  queue_->Add("a");
  EXPECT_EQ(Next(), "a");
  queue_->Add("a");
  queue_->Add("a");
  EXPECT_EQ(Next(), "");
  queue_->Done("a");
  EXPECT_EQ(Next(), "a");
  queue_->Done("a");
  EXPECT_EQ(Next(), "");
}

TEST_F(WorkQueueTest, TheEarliestOfSeveralDelaysCounts) {
  queue_->AddAfter("a", 30 * kMs);
  queue_->AddAfter("a", 10 * kMs);
  queue_->AddAfter("a", 20 * kMs);
  clock_.Advance(9 * kMs);
  EXPECT_EQ(Next(), "");
  clock_.Advance(kMs);
  EXPECT_EQ(Next(), "a");
  queue_->Done("a");
  clock_.Advance(absl::Hours(1));
  EXPECT_EQ(Next(), "") << "the later ones are gone";
}

TEST_F(WorkQueueTest, AddTakesTheDelayAway) {
  queue_->AddAfter("a", absl::Hours(1));
  queue_->Add("a");
  EXPECT_EQ(Next(), "a");
  queue_->Done("a");
  clock_.Advance(absl::Hours(2));
  EXPECT_EQ(Next(), "");
}

TEST_F(WorkQueueTest, ADelayThatEndsInWorkWaitsForDone) {
  queue_->Add("a");
  EXPECT_EQ(Next(), "a");
  queue_->AddAfter("a", kMs);
  clock_.Advance(2 * kMs);
  queue_->Add("b");
  EXPECT_EQ(Next(), "b");
  queue_->Done("a");
  EXPECT_EQ(Next(), "a");
}

TEST_F(WorkQueueTest, FailuresWaitTwiceAsLongEachTimeUntilForgotten) {
  absl::Duration expected = 5 * kMs;
  for (int failure = 0; failure < 30; ++failure) {
    queue_->AddRateLimited("a");
    clock_.Advance(expected - absl::Nanoseconds(1));
    EXPECT_EQ(queue_->size(), 0u) << failure;
    clock_.Advance(absl::Nanoseconds(1));
    EXPECT_EQ(Next(), "a") << failure;
    queue_->Done("a");
    expected = std::min(expected * 2, absl::Seconds(60));
  }
  queue_->Forget("a");
  queue_->AddRateLimited("a");
  clock_.Advance(5 * kMs);
  EXPECT_EQ(Next(), "a");
}

TEST_F(WorkQueueTest, TellsTheOldestWait) {
  EXPECT_EQ(queue_->oldest_wait(), absl::ZeroDuration());
  queue_->AddAfter("later", 30 * kMs);
  clock_.Advance(10 * kMs);
  EXPECT_EQ(queue_->oldest_wait(), absl::ZeroDuration()) << "what is not due does not wait";
  queue_->Add("a");
  clock_.Advance(7 * kMs);
  queue_->Add("b");
  EXPECT_EQ(queue_->oldest_wait(), 7 * kMs);
  EXPECT_EQ(Next(), "a");
  EXPECT_EQ(queue_->oldest_wait(), absl::ZeroDuration());
}

TEST_F(WorkQueueTest, InfiniteDelayIsNever) {
  queue_->AddAfter("a", absl::InfiniteDuration());
  clock_.Advance(absl::Hours(1000000));
  EXPECT_EQ(Next(), "");
}

TEST_F(WorkQueueTest, AfterShutDownNothingIsGivenOut) {
  queue_->Add("a");
  queue_->ShutDown();
  EXPECT_EQ(queue_->Get(), std::nullopt);
  queue_->Add("b");
  EXPECT_EQ(queue_->Get(), std::nullopt);
}

TEST(WorkQueueThreadsTest, ShutDownWaitsForWork) {
  const auto queue = WorkQueue::Create({});
  queue->Add("a");
  ASSERT_EQ(queue->Get(), "a");
  queue->ShutDown();
  std::atomic<bool> done{false};
  std::thread waiter([&] {
    EXPECT_EQ(queue->Get(), std::nullopt);
    EXPECT_TRUE(done);
  });
  done = true;
  queue->Done("a");
  waiter.join();
}

TEST(WorkQueueThreadsTest, NoKeyIsWorkedOnTwiceAtOnceAndNoneIsLost) {
  const auto queue = WorkQueue::Create({});
  constexpr int kKeys = 5;
  constexpr int kAdds = 2000;
  std::atomic<int> in_work[kKeys] = {};
  std::atomic<int> latest[kKeys] = {};  // what the adder wrote before Add
  std::atomic<int> seen[kKeys] = {};
  std::vector<std::thread> workers;
  for (int i = 0; i < 4; ++i) {
    workers.emplace_back([&] {
      while (const std::optional<std::string> key = queue->Get()) {
        const int k = (*key)[0] - '0';
        EXPECT_EQ(in_work[k].fetch_add(1), 0);
        seen[k] = latest[k].load();
        in_work[k].fetch_sub(1);
        queue->Done(*key);
      }
    });
  }
  for (int add = 1; add <= kAdds; ++add) {
    for (int k = 0; k < kKeys; ++k) {
      latest[k] = add;
      if (add % 3 == 0) {
        queue->AddAfter(std::string(1, static_cast<char>('0' + k)), absl::Microseconds(add % 50));
      } else {
        queue->Add(std::string(1, static_cast<char>('0' + k)));
      }
    }
  }
  for (int k = 0; k < kKeys; ++k) queue->Add(std::string(1, static_cast<char>('0' + k)));
  for (const std::atomic<int>& value : seen) {
    EXPECT_TRUE(Eventually([&value] { return value == kAdds; })) << value;
  }
  queue->ShutDown();
  for (std::thread& worker : workers) worker.join();
}

}  // namespace
}  // namespace slmmesh::kube
