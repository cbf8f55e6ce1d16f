#include "operator/kube/lease.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>

#include "nlohmann/json.hpp"
#include "operator/kube/lease_record.h"
#include "operator/kube/testing/eventually.h"
#include "operator/kube/testing/fake_api_server.h"
#include "operator/kube/testing/fake_store.h"

namespace slmmesh::kube {
namespace {

using nlohmann::json;

constexpr char kLeases[] = "/apis/coordination.k8s.io/v1/leases";

TEST(LeaseViewTest, WhoMayTakeIt) {
  const absl::Time start = absl::UnixEpoch();
  const LeaseRecord others{"b", absl::Seconds(15), "t0", "t1", 0};
  LeaseView view;
  EXPECT_EQ(view.Decide("a", start), LeaseMove::kTake) << "nobody's";
  view.Observe(others, start);
  EXPECT_EQ(view.Decide("a", start), LeaseMove::kWait);
  EXPECT_EQ(view.Decide("b", start), LeaseMove::kRenew);
  view.Observe(others, start + absl::Seconds(14));
  EXPECT_EQ(view.Decide("a", start + absl::Seconds(15)), LeaseMove::kWait);
  EXPECT_EQ(view.Decide("a", start + absl::Seconds(16)), LeaseMove::kTake) << "seen unchanged for longer than it lasts";
  view.Observe({"b", absl::Seconds(15), "t0", "t2", 0}, start + absl::Seconds(16));
  EXPECT_EQ(view.Decide("a", start + absl::Seconds(31)), LeaseMove::kWait) << "renewed";
  view.Observe({"", absl::Seconds(1), "t0", "t3", 0}, start + absl::Seconds(17));
  EXPECT_EQ(view.Decide("a", start + absl::Seconds(17)), LeaseMove::kTake) << "released";
}

TEST(LeaseViewTest, AnotherClocksTimeDoesNotCount) {
  LeaseView view;
  view.Observe({"b", absl::Seconds(15), "1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z", 0}, absl::Now());
  EXPECT_EQ(view.Decide("a", absl::Now()), LeaseMove::kWait);
}

TEST(LeaseRecordTest, TakingCountsTransitionsAndKeepsTheRest) {
  const absl::Time now = absl::FromUnixMicros(1700000000123456);
  json lease = {{"metadata", {{"resourceVersion", "7"}, {"labels", {{"a", "b"}}}}}};
  lease = WithHolder(lease, "a", absl::Milliseconds(1500), now);
  EXPECT_EQ(lease["spec"]["leaseTransitions"], 0);
  EXPECT_EQ(lease["spec"]["leaseDurationSeconds"], 2);
  EXPECT_EQ(lease["spec"]["acquireTime"], "2023-11-14T22:13:20.123456Z");
  lease = WithHolder(lease, "a", absl::Seconds(15), now + absl::Seconds(1));
  EXPECT_EQ(lease["spec"]["leaseTransitions"], 0);
  EXPECT_EQ(lease["spec"]["acquireTime"], "2023-11-14T22:13:20.123456Z");
  EXPECT_EQ(lease["spec"]["renewTime"], "2023-11-14T22:13:21.123456Z");
  lease = WithHolder(Released(lease, now), "b", absl::Seconds(15), now);
  EXPECT_EQ(lease["spec"]["leaseTransitions"], 1);
  EXPECT_EQ(lease["spec"]["holderIdentity"], "b");
  EXPECT_EQ(lease["metadata"]["labels"]["a"], "b");
}

TEST(LeaseRecordTest, StrangeLeasesCountAsFree) {
  for (const char* text : {"{}", R"({"spec":7})", R"({"spec":{"holderIdentity":7,"leaseDurationSeconds":"x"}})"}) {
    EXPECT_EQ(ParseLease(json::parse(text)), LeaseRecord{}) << text;
  }
}

// One who wants to lead; counts what it is told.
struct Candidate {
  std::unique_ptr<Client> client;
  std::atomic<int> started{0};
  std::atomic<int> stopped{0};
  std::unique_ptr<LeaderElector> elector;
};

class LeaseTest : public ::testing::Test {
 protected:
  std::unique_ptr<Candidate> Start(const std::string& identity, absl::Duration renew_deadline = absl::Seconds(10)) {
    auto candidate = std::make_unique<Candidate>();
    Client::Options options;
    options.config = server_->config();
    candidate->client = *Client::Create(options);
    LeaderElector::Options election;
    election.ns = "slm-system";
    election.name = "operator";
    election.identity = identity;
    election.lease_duration = absl::Seconds(1);
    election.renew_deadline = renew_deadline;
    election.retry_period = absl::Milliseconds(20);
    election.on_started = [c = candidate.get()] { ++c->started; };
    election.on_stopped = [c = candidate.get()] { ++c->stopped; };
    candidate->elector = LeaderElector::Start(candidate->client.get(), election);
    return candidate;
  }
  std::string Holder() { return ParseLease(store_.Find(kLeases, "slm-system", "operator")).holder; }

  FakeStore store_;
  std::atomic<bool> hangs_{false};
  std::unique_ptr<FakeApiServer> server_ = FakeApiServer::Start([this](FakeExchange& exchange) {
    if (hangs_) return exchange.WaitForEnd();
    store_.handler()(exchange);
  });
};

TEST_F(LeaseTest, OneLeadsAndTheOtherTakesOverWhenItStops) {
  const auto first = Start("first");
  ASSERT_TRUE(Eventually([&] { return first->started == 1; }));
  EXPECT_TRUE(first->elector->is_leader());
  const auto second = Start("second");
  ASSERT_TRUE(Eventually([&] { return second->elector->leader() == "first"; }));
  EXPECT_FALSE(second->elector->is_leader());
  EXPECT_EQ(second->started, 0);
  first->elector.reset();
  EXPECT_EQ(first->stopped, 1);
  ASSERT_TRUE(Eventually([&] { return second->started == 1; }));
  EXPECT_TRUE(second->elector->is_leader());
}

TEST_F(LeaseTest, ReleasedWhenStoppedSoThatARestartNeedNotWait) {
  Start("first")->elector.reset();  // may not have led at all
  auto first = Start("first");
  ASSERT_TRUE(Eventually([&] { return first->started == 1; }));
  first.reset();
  EXPECT_EQ(Holder(), "");
}

TEST_F(LeaseTest, TakesOverFromOneThatDied) {
  store_.Put(kLeases, "slm-system", "operator",
             {{"spec", {{"holderIdentity", "dead"}, {"leaseDurationSeconds", 1}, {"renewTime", "long ago"}}}});
  const auto candidate = Start("alive");
  ASSERT_TRUE(Eventually([&] { return candidate->started == 1; }));
  EXPECT_EQ(Holder(), "alive");
}

TEST_F(LeaseTest, StopsInTimeThoughTheServerHangs) {
  const auto candidate = Start("a", /*renew_deadline=*/absl::Milliseconds(300));
  ASSERT_TRUE(Eventually([&] { return candidate->started == 1; }));
  hangs_ = true;
  ASSERT_TRUE(Eventually([&] { return candidate->stopped == 1; }));
  EXPECT_FALSE(candidate->elector->is_leader());
  hangs_ = false;
  server_->CloseIdleConnections();
  ASSERT_TRUE(Eventually([&] { return candidate->started == 2; })) << "still its lease";
}

TEST_F(LeaseTest, StopsWhenAnotherTookIt) {
  const auto candidate = Start("a");
  ASSERT_TRUE(Eventually([&] { return candidate->started == 1; }));
  store_.Put(kLeases, "slm-system", "operator",
             {{"spec", {{"holderIdentity", "thief"}, {"leaseDurationSeconds", 3600}, {"renewTime", "now"}}}});
  ASSERT_TRUE(Eventually([&] { return candidate->stopped == 1; }));
  EXPECT_FALSE(candidate->elector->is_leader());
  candidate->elector.reset();
  EXPECT_EQ(Holder(), "thief") << "not ours to release";
}

TEST_F(LeaseTest, AForeignAnnotationCostsNothing) {
  const auto candidate = Start("a");
  ASSERT_TRUE(Eventually([&] { return candidate->started == 1; }));
  json lease = store_.Find(kLeases, "slm-system", "operator");
  lease["metadata"]["annotations"]["x"] = "y";
  store_.Put(kLeases, "slm-system", "operator", lease);
  const std::string renewed = ParseLease(lease).renew_time;
  ASSERT_TRUE(
      Eventually([&] { return ParseLease(store_.Find(kLeases, "slm-system", "operator")).renew_time > renewed; }));
  EXPECT_EQ(candidate->stopped, 0);
  EXPECT_EQ(store_.Find(kLeases, "slm-system", "operator")["metadata"]["annotations"]["x"], "y");
}

}  // namespace
}  // namespace slmmesh::kube
