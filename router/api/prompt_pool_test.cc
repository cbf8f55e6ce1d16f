#include "router/api/prompt_pool.h"

#include <gtest/gtest.h>

#include <future>

namespace slmmesh {
namespace {

class PromptPoolTest : public ::testing::Test {
 protected:
  PromptPoolTest() { loop_.Start(); }
  ~PromptPoolTest() override {
    loop_.Stop();
    loop_.Join();
  }

  Loop loop_{0};
};

TEST_F(PromptPoolTest, ShortTextsStayWhereTheyAre) {
  PromptPool pool(1);
  std::thread::id worked;
  bool done = false;
  pool.Run(
      &loop_, PromptPool::kLongBytes - 1, [&] { worked = std::this_thread::get_id(); },
      [&](const absl::Status& status) { done = status.ok(); });
  EXPECT_TRUE(done);
  EXPECT_EQ(worked, std::this_thread::get_id());
}

TEST_F(PromptPoolTest, LongTextsLeaveTheLoopAndComeBack) {
  PromptPool pool(1);
  std::promise<bool> came_back;
  auto worked = std::make_shared<std::thread::id>();
  loop_.Post([&] {
    const std::thread::id loop_thread = std::this_thread::get_id();
    pool.Run(
        &loop_, PromptPool::kLongBytes, [worked] { *worked = std::this_thread::get_id(); },
        [&, loop_thread, worked](const absl::Status& status) {
          came_back.set_value(status.ok() && *worked != loop_thread && std::this_thread::get_id() == loop_thread);
        });
  });
  EXPECT_TRUE(came_back.get_future().get());
}

TEST_F(PromptPoolTest, WhatIsTooMuchIsRefusedAtOnce) {
  PromptPool pool(1);
  std::promise<void> started, go_on, last;
  const std::shared_future<void> released = go_on.get_future().share();
  pool.Run(
      &loop_, PromptPool::kLongBytes,
      [&started, released] {
        started.set_value();
        released.wait();
      },
      [](const absl::Status&) {});
  started.get_future().wait();
  for (size_t i = 0; i < PromptPool::kMaxJobs; ++i) {
    const bool is_last = i + 1 == PromptPool::kMaxJobs;
    pool.Run(
        &loop_, PromptPool::kLongBytes, [] {},
        [&last, is_last](const absl::Status& status) {
          EXPECT_TRUE(status.ok());
          if (is_last) last.set_value();
        });
  }
  absl::Status refused;
  pool.Run(
      &loop_, PromptPool::kLongBytes, [] { FAIL(); }, [&](const absl::Status& status) { refused = status; });
  EXPECT_TRUE(absl::IsResourceExhausted(refused)) << refused;
  go_on.set_value();
  last.get_future().wait();
}

}  // namespace
}  // namespace slmmesh
