// Groups that drain, clusters without groups, and clusters that start anew.
#include "router/testing/router_fixture.h"

namespace slmmesh {
namespace {

using testing::HasSubstr;

constexpr char kCompletion[] = R"({"model":"fake","prompt":"x","max_tokens":1})";

class DrainingTest : public RouterTest {
 protected:
  // Two groups, "group-0" of worker_ and "other" of other_.
  void StartTwoGroups(RouterOptions options = {}) {
    StartMesh(std::move(options));
    other_ = std::make_unique<FakeWorker>(Tls(Role::kWorker), FakeModel());
    PublishTwo(false, false);
    WaitForRoutable(2);
  }

  void PublishTwo(bool first_drains, bool other_drains) {
    v1::ClusterTable table = FakeTable(*worker_);
    table.mutable_groups(0)->set_draining(first_drains);
    v1::Group& other = *table.add_groups() = FakeTable(*other_).groups(0);
    other.set_group_id("other");
    other.set_draining(other_drains);
    head_->Publish(table);
  }

  v1::RouterReport WaitForRoutable(int groups) {
    return head_->WaitForReport([groups](const v1::RouterReport& report) { return report.routable_size() == groups; });
  }

  void WaitForQueued() {
    head_->WaitForReport([](const v1::RouterReport& report) { return report.queued_requests() == 1; });
  }

  static int Answer(FakeWorker& worker, TestHttpClient& client) {
    worker.SendText(worker.NextSubmit().handle(), "y");
    return client.Receive().status;
  }

  std::unique_ptr<FakeWorker> other_;
};

TEST_F(DrainingTest, NothingNewGoesToAGroupThatDrainsBesideAnother) {
  StartTwoGroups();
  const auto running = Client();
  running->SendRequest("POST", "/v1/completions", kCompletion);
  // Which of the two got it is the router's choice: that one drains.
  while (!worker_->HasRequests() && !other_->HasRequests()) {
  }
  const bool first = worker_->HasRequests();
  FakeWorker& drains = first ? *worker_ : *other_;
  FakeWorker& serves = first ? *other_ : *worker_;
  PublishTwo(first, !first);
  EXPECT_EQ(WaitForRoutable(1).routable(0).group_id() == "other", first);
  const auto client = Client();
  for (int i = 0; i < 4; ++i) {
    client->SendRequest("POST", "/v1/completions", kCompletion);
    EXPECT_EQ(Answer(serves, *client), 200);
  }
  EXPECT_EQ(Answer(drains, *running), 200);  // what ran there goes on
}

TEST_F(DrainingTest, AGroupThatDrainsServesWhatNoOtherCan) {
  RouterOptions options;
  options.wait_for_group = absl::Milliseconds(50);
  StartMesh(std::move(options));
  v1::ClusterTable table = FakeTable(*worker_);
  table.mutable_groups(0)->set_draining(true);
  head_->Publish(table);
  WaitForRoutable(0);
  const auto client = Client();
  EXPECT_EQ(client->Get("/readyz").status, 200);
  client->SendRequest("POST", "/v1/completions", kCompletion);
  EXPECT_EQ(Answer(*worker_, *client), 200);
}

TEST_F(DrainingTest, AnotherGroupIsWaitedForFirst) {
  StartTwoGroups();
  PublishTwo(true, true);
  WaitForRoutable(0);
  const auto client = Client();
  client->SendRequest("POST", "/v1/completions", kCompletion);
  WaitForQueued();
  PublishTwo(true, false);
  EXPECT_EQ(Answer(*other_, *client), 200);
  EXPECT_FALSE(worker_->HasRequests());
}

TEST_F(DrainingTest, RequestsWaitForTheFirstGroupOfAKnownModel) {
  head_ = std::make_unique<FakeHead>(Tls(Role::kHead), "127.0.0.1:0", "head-1");
  RouterOptions options;
  options.served_model_name = "fake";
  options.wait_for_group = absl::Seconds(30);
  StartRouter(std::move(options));
  const auto client = Client();
  EXPECT_EQ(client->Get("/readyz").status, 503);  // it knows nothing of the cluster
  head_->Publish({});
  while (client->Get("/readyz").status != 200) {
  }
  EXPECT_EQ(client->Post("/v1/completions", R"({"model":"other","prompt":"x"})").status, 404);
  const auto hasty = Client();
  hasty->SendRequest("POST", "/v1/completions", kCompletion, {"X-Request-Timeout-Ms: 30"});
  EXPECT_EQ(hasty->Receive().status, 503);
  client->SendRequest("POST", "/v1/completions", kCompletion);
  WaitForQueued();
  worker_ = std::make_unique<FakeWorker>(Tls(Role::kWorker), FakeModel());
  head_->Publish(FakeTable(*worker_));
  EXPECT_EQ(Answer(*worker_, *client), 200);
}

TEST_F(DrainingTest, AModelStaysKnownWithoutGroups) {
  RouterOptions options;
  options.served_model_name = "fake";
  StartMesh(std::move(options));
  head_->Publish({});
  WaitForRoutable(0);
  const auto client = Client();
  EXPECT_EQ(client->Get("/readyz").status, 200);
  EXPECT_THAT(client->Get("/v1/models").body, HasSubstr("\"fake\""));
  client->SendRequest("POST", "/v1/completions", kCompletion);
  WaitForQueued();
  head_->Publish(FakeTable(*worker_));
  EXPECT_EQ(Answer(*worker_, *client), 200);
}

TEST_F(DrainingTest, AGroupThatOnlyThisRouterCannotReachMakesItUnready) {
  RouterOptions options;
  options.served_model_name = "fake";
  StartMesh(std::move(options));
  v1::ClusterTable table = FakeTable(*worker_, 2);
  table.mutable_groups(0)->set_leader_endpoint("127.0.0.1:1");
  head_->Publish(table);
  WaitForRoutable(0);
  EXPECT_EQ(Client()->Get("/readyz").status, 503);
}

// Head and workers start anew together: epochs begin at 1 again, under the same names.
TEST_F(DrainingTest, EqualEpochsOfANewHeadAreOtherGroups) {
  StartMesh();
  const std::string head_address = head_->address();
  head_.reset();
  auto old_worker = std::move(worker_);  // alive still, as a pod that the network lost
  v1::ModelInfo model = FakeModel();
  model.set_created_unix_seconds(777);
  worker_ = std::make_unique<FakeWorker>(Tls(Role::kWorker), model);
  head_ = std::make_unique<FakeHead>(Tls(Role::kHead), head_address, "head-2");
  v1::ClusterTable table = FakeTable(*worker_);
  table.mutable_groups(0)->set_model_key("another");
  head_->Publish(table);
  const auto client = Client();
  while (client->Get("/v1/models").body.find("777") == std::string::npos) {  // until the new table has come
  }
  client->SendRequest("POST", "/v1/completions", kCompletion);
  EXPECT_EQ(Answer(*worker_, *client), 200);
  EXPECT_FALSE(old_worker->HasRequests());
}

}  // namespace
}  // namespace slmmesh
