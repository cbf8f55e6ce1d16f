// Rank 0 and a follower over shared memory, with a model whose logits say where they belong.
#include "worker/server/group_runner.h"

#include <thread>

#include "gtest/gtest.h"
#include "worker/collective/testing.h"

namespace slmmesh {
namespace {

using collective_testing::TestGroup;
using collective_testing::Transport;

// The logit of row r and vocabulary column c is `base` + 100 * (the token of that row) + c. Rank 0 owns 3 columns, rank
// 1 two.
class FakeModel : public Model {
 public:
  explicit FakeModel(int rank, uint32_t base = 0) : rank_(rank), base_(base) { config_.vocab_size = 5; }

  const ModelConfig& config() const override { return config_; }
  int64_t max_model_len() const override { return 16; }
  uint64_t weight_bytes() const override { return 0; }
  kernels::WeightType weight_type() const override { return kernels::WeightType::kFloat32; }
  uint64_t KvBytesPerBlock(kernels::KvType, int64_t) const override { return 0; }
  absl::Status ResetKvCache(const KvCacheOptions&) override { return absl::OkStatus(); }
  absl::Status ShareKvCache(Model*) override { return absl::OkStatus(); }
  absl::Span<const int64_t> vocab_columns() const override { return columns_; }
  absl::Status Forward(const StepBatch& batch, Communicator&, absl::Span<const float>* logits) override {
    if (batch.tokens[0] == kBadToken) return absl::InternalError("a bad token");
    logits_.clear();
    for (const uint32_t row : batch.logit_rows) {
      for (int64_t column = 0; column < columns_[rank_]; ++column) {
        logits_.push_back(
            static_cast<float>(base_ + 100 * batch.tokens[row] + (rank_ == 0 ? 0 : columns_[0]) + column));
      }
    }
    *logits = logits_;
    return absl::OkStatus();
  }

  static constexpr uint32_t kBadToken = 99;

 private:
  const int rank_;
  const uint32_t base_;
  ModelConfig config_;
  const std::vector<int64_t> columns_ = {3, 2};
  std::vector<float> logits_;
};

StepBatch MakeBatch(const std::vector<uint32_t>& tokens, const std::vector<uint32_t>& logit_rows) {
  const auto count = static_cast<uint32_t>(tokens.size());
  return {tokens, std::vector<uint32_t>(count, 0), {0, count}, {0}, {0, 1}, logit_rows};
}

class GroupRunnerTest : public testing::Test {
 protected:
  GroupRunnerTest() : ranks_(TestGroup(Transport::kSharedMemory, 2, absl::Seconds(30)).ConnectAll()) {
    follower_ = std::thread([this] {
      FakeModel model(1), draft(1, 1000);
      followed_ = FollowPlans({&model, &draft}, ranks_[1].get(), absl::Seconds(30));
    });
  }
  ~GroupRunnerTest() override {
    ranks_[0]->Abort("the test is over");
    if (follower_.joinable()) follower_.join();
  }

  std::vector<std::unique_ptr<Communicator>> ranks_;
  FakeModel model_{0};
  absl::Status followed_;
  std::thread follower_;
};

TEST_F(GroupRunnerTest, JoinsTheColumnsOfAllRanksRowByRow) {
  GroupRunner runner(&model_, ranks_[0].get(), absl::Seconds(30));
  EXPECT_TRUE(runner.KeepAlive().ok());
  for (const std::vector<uint32_t>& rows : std::vector<std::vector<uint32_t>>{{0}, {1, 2}, {}, {0, 1, 2}}) {
    absl::Span<const float> logits;
    ASSERT_TRUE(runner.Run(MakeBatch({7, 8, 9}, rows), &logits).ok());
    std::vector<float> expected;
    for (const uint32_t row : rows) {
      for (uint32_t column = 0; column < 5; ++column) expected.push_back(static_cast<float>(100 * (7 + row) + column));
    }
    EXPECT_EQ(std::vector<float>(logits.begin(), logits.end()), expected);
  }
  EXPECT_TRUE(runner.ShutDown().ok());
  follower_.join();
  EXPECT_TRUE(followed_.ok()) << followed_;
}

TEST_F(GroupRunnerTest, RunsTheDraftOnAllRanks) {
  GroupRunner target(&model_, ranks_[0].get(), absl::Seconds(30));
  FakeModel draft(0, 1000);
  GroupRunner drafter(&draft, ranks_[0].get(), absl::Seconds(30), PlanModel::kDraft);
  absl::Span<const float> logits;
  ASSERT_TRUE(drafter.Run(MakeBatch({7}, {0}), &logits).ok());
  EXPECT_EQ(std::vector<float>(logits.begin(), logits.end()), (std::vector<float>{1700, 1701, 1702, 1703, 1704}));
  ASSERT_TRUE(target.Run(MakeBatch({7}, {0}), &logits).ok());
  EXPECT_EQ(std::vector<float>(logits.begin(), logits.end()), (std::vector<float>{700, 701, 702, 703, 704}));
}

TEST_F(GroupRunnerTest, AModelThatFailsEndsTheFollowersLoop) {
  GroupRunner runner(&model_, ranks_[0].get(), absl::Seconds(30));
  absl::Span<const float> logits;
  EXPECT_EQ(runner.Run(MakeBatch({FakeModel::kBadToken}, {0}), &logits).code(), absl::StatusCode::kInternal);
  follower_.join();
  EXPECT_EQ(followed_.code(), absl::StatusCode::kInternal);
}

}  // namespace
}  // namespace slmmesh
