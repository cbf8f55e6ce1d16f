// The loop with a real engine over a fake model, and routers made of memory.
#include "worker/server/engine_loop.h"

#include <thread>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/engine/fake_runner.h"
#include "worker/server/pending_updates.h"

namespace slmmesh {
namespace {

constexpr uint32_t kVocab = 50;
constexpr uint32_t kBlocks = 64;
constexpr uint32_t kBlockSize = 16;

class FakeRouter : public RouterStream {
 public:
  void Push(v1::SessionResponse update) override {
    absl::MutexLock lock(&mutex_);
    messages_.push_back(std::move(update));
  }
  void Close(const absl::Status& status) override {
    absl::MutexLock lock(&mutex_);
    closed_ = status;
  }
  // The first message that `wanted` accepts, in order, from `*next` on; fails the test when none comes.
  v1::SessionResponse Await(size_t* next, const std::function<bool(const v1::SessionResponse&)>& wanted) {
    absl::MutexLock lock(&mutex_);
    const auto found = [&]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
      while (*next < messages_.size() && !wanted(messages_[*next])) ++*next;
      return *next < messages_.size();
    };
    if (mutex_.AwaitWithTimeout(absl::Condition(&found), absl::Seconds(30))) return messages_[(*next)++];
    ADD_FAILURE() << "no such message";
    return {};
  }
  absl::Status closed() {
    absl::MutexLock lock(&mutex_);
    return closed_;
  }
  std::vector<v1::SessionResponse> messages() {
    absl::MutexLock lock(&mutex_);
    return messages_;
  }

 private:
  absl::Mutex mutex_;
  std::vector<v1::SessionResponse> messages_ ABSL_GUARDED_BY(mutex_);
  absl::Status closed_ ABSL_GUARDED_BY(mutex_);
};

v1::Submit MakeSubmit(uint64_t handle, uint32_t max_tokens) {
  v1::Submit submit;
  submit.set_handle(handle);
  submit.set_tenant("tenant");
  for (uint32_t token = 1; token <= 20; ++token) submit.add_prompt_tokens(token);
  submit.mutable_sampling()->set_top_p(1);
  submit.mutable_sampling()->set_repetition_penalty(1);
  submit.mutable_sampling()->set_max_tokens(max_tokens);
  submit.mutable_sampling()->set_ignore_eos(true);
  return submit;
}

bool HasEnd(const v1::SessionResponse& message, v1::FinishReason reason) {
  return std::any_of(message.outputs().begin(), message.outputs().end(),
                     [&](const v1::TokenOutput& output) { return output.finish_reason() == reason; });
}

class EngineLoopTest : public testing::Test {
 protected:
  EngineLoopTest() : runner_(kVocab, kBlocks, kBlockSize), metrics_(&registry_, "model") {
    Make(/*drain_linger=*/absl::ZeroDuration());
  }
  void Make(absl::Duration drain_linger) {
    EngineOptions options;
    options.num_blocks = kBlocks;
    options.block_size = kBlockSize;
    options.max_model_len = 900;
    EngineLoop::Options loop_options;
    loop_options.keep_alive = [this] { return keep_alive_status_; };
    loop_options.on_load = [](const v1::LoadReport&) {};
    loop_options.idle_interval = absl::Milliseconds(20);
    loop_options.drain_linger = drain_linger;
    loop_ = std::make_shared<EngineLoop>(*Engine::Create(options, &runner_, &Clock::Real()), loop_options, &metrics_);
  }
  ~EngineLoopTest() override {
    loop_->Stop(absl::UnavailableError("the test is over"));
    if (thread_.joinable()) thread_.join();
  }
  void Start() {
    thread_ = std::thread([this] { end_ = loop_->Run(); });
  }
  std::shared_ptr<FakeRouter> Attach() {
    auto router = std::make_shared<FakeRouter>();
    EXPECT_TRUE(loop_->Post({Command::Kind::kAttach, router}));
    return router;
  }
  void Submit(const std::shared_ptr<FakeRouter>& router, uint64_t handle, uint32_t max_tokens) {
    EXPECT_TRUE(loop_->Post({Command::Kind::kSubmit, router, MakeSubmit(handle, max_tokens)}));
  }

  FakeRunner runner_;
  Metrics registry_;
  WorkerMetrics metrics_;
  absl::Status keep_alive_status_;
  std::shared_ptr<EngineLoop> loop_;
  absl::Status end_;
  std::thread thread_;
};

TEST_F(EngineLoopTest, EachRouterGetsItsOwnTokensUnderItsOwnHandles) {
  const auto one = Attach(), two = Attach();
  Submit(one, 7, 5);
  Submit(two, 7, 3);
  Start();
  size_t next_one = 0, next_two = 0;
  one->Await(&next_one, [](const auto& message) { return HasEnd(message, v1::FINISH_REASON_LENGTH); });
  two->Await(&next_two, [](const auto& message) { return HasEnd(message, v1::FINISH_REASON_LENGTH); });
  for (const auto& [router, count] : {std::pair(one, 5u), std::pair(two, 3u)}) {
    uint32_t index = 0;
    for (const v1::SessionResponse& message : router->messages()) {
      for (const v1::TokenOutput& output : message.outputs()) {
        EXPECT_EQ(output.handle(), 7u);
        EXPECT_EQ(output.index(), index++);
      }
    }
    EXPECT_EQ(index, count);
  }
}

TEST_F(EngineLoopTest, ACancelIsAnsweredAndItsBlocksAreFreeInTheSameMessage) {
  const auto router = Attach();
  Submit(router, 1, 800);
  Start();
  size_t next = 0;
  const auto running = router->Await(&next, [](const auto& message) { return message.load().kv_blocks_used() > 0; });
  EXPECT_EQ(running.load().running(), 1u);
  EXPECT_TRUE(loop_->Post({Command::Kind::kCancel, router, {}, 1}));
  const auto cancelled =
      router->Await(&next, [](const auto& message) { return HasEnd(message, v1::FINISH_REASON_CANCELLED); });
  EXPECT_EQ(cancelled.load().kv_blocks_used(), 0u);
  EXPECT_EQ(cancelled.load().running(), 0u);
}

TEST_F(EngineLoopTest, ARouterThatGoesTakesItsRequestsAlong) {
  const auto goes = Attach(), stays = Attach();
  Submit(goes, 1, 800);
  Submit(goes, 2, 800);
  Start();
  size_t next = 0;
  stays->Await(&next, [](const auto& message) { return message.load().running() == 2; });
  EXPECT_TRUE(loop_->Post({Command::Kind::kDetach, goes}));
  const auto after = stays->Await(&next, [](const auto& message) { return message.load().running() == 0; });
  EXPECT_EQ(after.load().kv_blocks_used(), 0u);
}

TEST_F(EngineLoopTest, RequestsOfARouterThatIsGoneNeverRun) {
  const auto goes = Attach(), stays = Attach();
  Submit(goes, 1, 800);
  Submit(goes, 2, 800);
  EXPECT_TRUE(loop_->Post({Command::Kind::kDetach, goes}));
  Submit(stays, 1, 2);
  Start();
  size_t next = 0;
  stays->Await(&next, [](const auto& message) { return HasEnd(message, v1::FINISH_REASON_LENGTH); });
  for (const v1::SessionResponse& message : stays->messages()) EXPECT_LE(message.load().running(), 1u);
  EXPECT_THAT(registry_.RenderText(), testing::HasSubstr("slmmesh_worker_requests_total{end=\"aborted\"} 2"));
}

TEST_F(EngineLoopTest, ANewRouterStartsFromTheWholePrefixCache) {
  const auto first = Attach();
  Submit(first, 1, 40);
  Start();
  size_t next = 0;
  first->Await(&next, [](const auto& message) { return HasEnd(message, v1::FINISH_REASON_LENGTH); });
  const auto second = Attach();
  size_t next_of_second = 0;
  second->Await(&next_of_second, [](const auto& message) { return message.has_load(); });
  PendingUpdates of_first, of_second;  // what each has heard in all
  for (auto& message : first->messages()) of_first.Add(std::move(message));
  for (auto& message : second->messages()) of_second.Add(std::move(message));
  const v1::SessionResponse heard_first = of_first.Take(), heard_second = of_second.Take();
  EXPECT_TRUE(heard_first.block_events().reset());
  EXPECT_TRUE(heard_second.block_events().reset());
  EXPECT_GE(heard_second.block_events().stored_size(), 3);  // 20 + 39 tokens are 3 full blocks
  EXPECT_THAT(
      std::vector<BlockHash>(heard_second.block_events().stored().begin(), heard_second.block_events().stored().end()),
      testing::UnorderedElementsAreArray(heard_first.block_events().stored()));
}

TEST_F(EngineLoopTest, ABadRequestIsAnErrorOfThatRequestOnly) {
  const auto router = Attach();
  v1::Submit bad = MakeSubmit(1, 5);
  bad.set_prompt_tokens(0, kVocab);
  EXPECT_TRUE(loop_->Post({Command::Kind::kSubmit, router, bad}));
  Submit(router, 2, 3);
  Start();
  size_t next = 0;
  const auto refused =
      router->Await(&next, [](const auto& message) { return HasEnd(message, v1::FINISH_REASON_ERROR); });
  EXPECT_EQ(refused.outputs(0).handle(), 1u);
  EXPECT_EQ(refused.outputs(0).error_code(), static_cast<uint32_t>(absl::StatusCode::kInvalidArgument));
  router->Await(&next, [](const auto& message) { return HasEnd(message, v1::FINISH_REASON_LENGTH); });
}

TEST_F(EngineLoopTest, AHandleInUseEndsTheStream) {
  const auto router = Attach();
  Submit(router, 1, 800);
  Submit(router, 1, 800);
  const auto other = Attach();
  Start();
  size_t next = 0;
  other->Await(&next, [](const auto& message) { return message.load().running() == 0; });
  EXPECT_EQ(router->closed().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(EngineLoopTest, ABrokenModelFailsEveryRequestAndClosesEveryStream) {
  const auto router = Attach(), idle = Attach();
  Submit(router, 1, 800);
  Submit(router, 2, 800);
  runner_.fail_with = absl::UnavailableError("rank 1 is gone");
  Start();
  thread_.join();
  EXPECT_EQ(end_.code(), absl::StatusCode::kUnavailable);
  size_t next = 0;
  const auto failed =
      router->Await(&next, [](const auto& message) { return HasEnd(message, v1::FINISH_REASON_ERROR); });
  ASSERT_EQ(failed.outputs_size(), 2);
  for (const v1::TokenOutput& output : failed.outputs()) {
    EXPECT_EQ(output.error_code(), static_cast<uint32_t>(absl::StatusCode::kUnavailable));
    EXPECT_THAT(output.error_message(), testing::HasSubstr("epoch ended: rank 1 is gone"));
  }
  EXPECT_EQ(router->closed().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(idle->closed().code(), absl::StatusCode::kUnavailable);
  EXPECT_FALSE(loop_->Post({Command::Kind::kSubmit, router, MakeSubmit(3, 1)}));
}

TEST_F(EngineLoopTest, AFailedKeepAliveEndsAnIdleEpoch) {
  keep_alive_status_ = absl::UnavailableError("rank 1 is gone");
  Start();
  thread_.join();
  EXPECT_EQ(end_.message(), "rank 1 is gone");
}

TEST_F(EngineLoopTest, DrainFinishesWhatRunsAndWhatComesMeanwhile) {
  const auto router = Attach();
  Submit(router, 1, 30);
  loop_->Drain();
  Submit(router, 2, 1);  // on its way when the router heard of the drain
  Start();
  thread_.join();
  EXPECT_TRUE(end_.ok()) << end_;
  int finished = 0;
  for (const v1::SessionResponse& message : router->messages()) {
    for (const v1::TokenOutput& output : message.outputs()) {
      finished += output.finish_reason() == v1::FINISH_REASON_LENGTH;
    }
  }
  EXPECT_EQ(finished, 2);
  EXPECT_EQ(router->closed().code(), absl::StatusCode::kUnavailable);
}

TEST_F(EngineLoopTest, ARouterThatMayNotHaveHeardOfTheDrainIsWaitedFor) {
  Make(/*drain_linger=*/absl::InfiniteDuration());
  const auto router = Attach();
  loop_->Drain();
  Start();
  size_t next = 0;
  for (int i = 0; i < 3; ++i) router->Await(&next, [](const auto& message) { return message.has_load(); });
  Submit(router, 1, 2);
  router->Await(&next, [](const auto& message) { return HasEnd(message, v1::FINISH_REASON_LENGTH); });
  EXPECT_TRUE(loop_->Post({Command::Kind::kDetach, router}));  // nobody is left to hear of it
  thread_.join();
  EXPECT_TRUE(end_.ok()) << end_;
}

TEST_F(EngineLoopTest, AnIdleLoopStillTellsItsLoad) {
  const auto router = Attach();
  Start();
  size_t next = 0;
  for (int i = 0; i < 3; ++i) router->Await(&next, [](const auto& message) { return message.has_load(); });
  EXPECT_EQ(router->messages().back().load().kv_blocks_total(), kBlocks);
}

TEST_F(EngineLoopTest, CountsTokensForTheMetrics) {
  const auto router = Attach();
  Submit(router, 1, 5);
  Start();
  size_t next = 0;
  router->Await(&next, [](const auto& message) { return HasEnd(message, v1::FINISH_REASON_LENGTH); });
  const std::string text = registry_.RenderText();
  EXPECT_THAT(text, testing::HasSubstr("vllm:generation_tokens_total{model_name=\"model\"} 5"));
  EXPECT_THAT(text, testing::HasSubstr("vllm:prompt_tokens_total{model_name=\"model\"} 20"));
  EXPECT_THAT(text, testing::HasSubstr("slmmesh_worker_requests_total{end=\"finished\"} 1"));
}

}  // namespace
}  // namespace slmmesh
