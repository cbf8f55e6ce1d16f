#include "head/membership.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace slmmesh {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

v1::Offer OfferOf(const std::string& worker_id, uint64_t incarnation) {
  v1::Offer offer;
  offer.set_worker_id(worker_id);
  offer.set_incarnation(incarnation);
  offer.set_worker_group("pool");
  offer.set_model_key("model");
  offer.set_tensor_parallel_size(2);
  offer.set_endpoint(worker_id + ":1");
  offer.set_exchange_endpoint(worker_id + ":2");
  return offer;
}

class MembershipTest : public testing::Test {
 protected:
  MembershipTest() {
    options_.head_id = "head";
    options_.restart_grace = absl::ZeroDuration();
  }

  Membership& membership() {
    if (membership_ == nullptr) membership_ = std::make_unique<Membership>(options_, clock_);
    return *membership_;
  }

  void Serve(StreamId stream, const v1::GroupSeat& seat) {
    v1::WorkerStatus status;
    status.set_phase(v1::WORKER_PHASE_SERVING);
    *status.mutable_seat() = seat;
    EXPECT_EQ(membership().Report(stream, status), absl::OkStatus());
  }

  // w0 on stream 1 and w1 on stream 2 serve pool-0.
  void StartGroup() {
    ASSERT_EQ(membership().Join(1, OfferOf("w0", 10)), absl::OkStatus());
    ASSERT_EQ(membership().Join(2, OfferOf("w1", 11)), absl::OkStatus());
    for (const Membership::Message& message : membership().TakeMessages()) {
      if (message.response.has_assignment()) Serve(message.stream, message.response.assignment().seat());
    }
    ASSERT_EQ(membership().Table().groups(0).state(), v1::GROUP_STATE_READY);
  }

  FakeClock clock_;
  MembershipOptions options_;
  std::unique_ptr<Membership> membership_;
};

TEST_F(MembershipTest, LeaseFirstThenTheAssignmentWithItsPeers) {
  ASSERT_EQ(membership().Join(1, OfferOf("w0", 10)), absl::OkStatus());
  ASSERT_EQ(membership().Join(2, OfferOf("w1", 11)), absl::OkStatus());
  const std::vector<Membership::Message> messages = membership().TakeMessages();
  ASSERT_THAT(messages, SizeIs(4));
  EXPECT_EQ(messages[0].stream, 1u);
  EXPECT_EQ(messages[0].response.lease().heartbeat_ms(), 1000u);
  EXPECT_EQ(messages[0].response.lease().lease_ms(), 5000u);
  EXPECT_EQ(messages[0].response.lease().head_id(), "head");
  EXPECT_EQ(messages[1].stream, 2u);
  EXPECT_TRUE(messages[1].response.has_lease());
  for (uint32_t rank : {0, 1}) {
    const v1::Assignment& assignment = messages[2 + rank].response.assignment();
    EXPECT_EQ(assignment.seat().rank(), rank);
    ASSERT_EQ(assignment.peers_size(), 2);
    EXPECT_EQ(assignment.peers(0).worker_id(), "w0");
    EXPECT_EQ(assignment.peers(0).incarnation(), 10u);
    EXPECT_EQ(assignment.peers(1).worker_id(), "w1");
    EXPECT_EQ(assignment.peers(1).exchange_endpoint(), "w1:2");
  }
}

TEST_F(MembershipTest, SilenceForLongerThanTheLeaseIsDeath) {
  StartGroup();
  clock_.Advance(absl::Seconds(4));
  Serve(1, membership().members().at("w0").told);
  clock_.Advance(absl::Seconds(1));
  membership().Tick();
  EXPECT_THAT(membership().members(), SizeIs(2));  // silent for exactly the lease
  clock_.Advance(absl::Milliseconds(1));
  membership().Tick();
  EXPECT_THAT(membership().members(), SizeIs(1));
  EXPECT_EQ(membership().Table().groups(0).state(), v1::GROUP_STATE_BROKEN);
  const std::vector<Membership::Message> messages = membership().TakeMessages();
  ASSERT_THAT(messages, SizeIs(1));
  EXPECT_EQ(messages[0].stream, 2u);
  EXPECT_THAT(std::string(messages[0].end.message()), HasSubstr("lease"));
}

TEST_F(MembershipTest, ACutStreamIsDeathAfterTheGrace) {
  StartGroup();
  membership().EndStream(2);
  clock_.Advance(absl::Milliseconds(499));
  membership().Tick();
  EXPECT_EQ(membership().Table().groups(0).state(), v1::GROUP_STATE_READY);
  clock_.Advance(absl::Milliseconds(1));
  membership().Tick();
  EXPECT_EQ(membership().Table().groups(0).state(), v1::GROUP_STATE_BROKEN);
}

TEST_F(MembershipTest, ReconnectWithinTheGraceChangesNothing) {
  StartGroup();
  const uint64_t version = membership().version();
  const v1::GroupSeat seat = membership().members().at("w1").told;
  membership().EndStream(2);
  clock_.Advance(absl::Milliseconds(400));
  v1::Offer offer = OfferOf("w1", 11);
  *offer.mutable_seat() = seat;
  ASSERT_EQ(membership().Join(3, offer), absl::OkStatus());
  clock_.Advance(absl::Seconds(1));
  membership().Tick();
  EXPECT_EQ(membership().version(), version);
  EXPECT_EQ(membership().Table().groups(0).state(), v1::GROUP_STATE_READY);
  EXPECT_THAT(membership().TakeMessages(), SizeIs(1));  // its lease
}

TEST_F(MembershipTest, AnAssignmentThatWasLostIsGivenAgain) {
  ASSERT_EQ(membership().Join(1, OfferOf("w0", 10)), absl::OkStatus());
  ASSERT_EQ(membership().Join(2, OfferOf("w1", 11)), absl::OkStatus());
  membership().EndStream(2);
  membership().TakeMessages();
  ASSERT_EQ(membership().Join(3, OfferOf("w1", 11)), absl::OkStatus());  // knows of no seat
  const std::vector<Membership::Message> messages = membership().TakeMessages();
  ASSERT_THAT(messages, SizeIs(2));
  EXPECT_EQ(messages[1].stream, 3u);
  EXPECT_EQ(messages[1].response.assignment().seat().epoch(), 1u);
}

TEST_F(MembershipTest, ANewProcessReplacesTheOldOnesStreamAndGetsANewEpoch) {
  StartGroup();
  ASSERT_EQ(membership().Join(3, OfferOf("w1", 12)), absl::OkStatus());
  const std::vector<Membership::Message> messages = membership().TakeMessages();
  ASSERT_THAT(messages, SizeIs(4));
  EXPECT_EQ(messages[0].stream, 2u);
  EXPECT_EQ(messages[0].end.code(), absl::StatusCode::kAborted);
  EXPECT_TRUE(messages[1].response.has_lease());
  EXPECT_EQ(messages[2].response.assignment().seat().epoch(), 2u);
  EXPECT_EQ(messages[3].stream, 3u);
  EXPECT_EQ(messages[3].response.assignment().seat().rank(), 1u);
  membership().EndStream(2);  // the old stream's end, seen late, is not the new process's
  EXPECT_TRUE(membership().members().at("w1").connected);
}

TEST_F(MembershipTest, RoutersKnowEpochsThatNoWorkerRemembers) {
  v1::RouterReport report;
  report.add_routable()->set_epoch(41);
  ASSERT_EQ(membership().ReportRouter(9, report), absl::OkStatus());
  StartGroup();
  EXPECT_EQ(membership().Table().groups(0).epoch(), 42u);
}

TEST_F(MembershipTest, LoadAndHeartbeatsDoNotCountAsChanges) {
  StartGroup();
  const uint64_t version = membership().version();
  clock_.Advance(absl::Seconds(1));
  v1::WorkerStatus status = membership().members().at("w0").status;
  status.mutable_load()->set_running(5);
  ASSERT_EQ(membership().Report(1, status), absl::OkStatus());
  membership().Tick();
  EXPECT_EQ(membership().version(), version);
  EXPECT_EQ(membership().Table().groups(0).load().running(), 5u);
  status.set_phase(v1::WORKER_PHASE_FAILED);
  ASSERT_EQ(membership().Report(1, status), absl::OkStatus());
  EXPECT_GT(membership().version(), version);
}

TEST_F(MembershipTest, BadMessagesEndTheStreamWithAReason) {
  const v1::Offer good = OfferOf("w0", 10);
  EXPECT_EQ(membership().Report(1, v1::WorkerStatus()).code(), absl::StatusCode::kFailedPrecondition);
  v1::Offer bad = good;
  bad.clear_worker_id();
  EXPECT_EQ(membership().Join(1, bad).message(), "offer.worker_id is empty");
  bad = good;
  bad.set_incarnation(0);
  EXPECT_EQ(membership().Join(1, bad).message(), "offer.incarnation is 0: take a random number per process start");
  bad = good;
  bad.set_tensor_parallel_size(65);
  EXPECT_EQ(membership().Join(1, bad).message(), "offer.tensor_parallel_size is 65, not from 1 to 64");
  bad = good;
  bad.set_model_key(std::string(257, 'x'));
  EXPECT_EQ(membership().Join(1, bad).message(), "offer.model_key has 257 bytes, more than the 256 allowed");
  EXPECT_EQ(membership().Join(1, good), absl::OkStatus());
  EXPECT_EQ(membership().Join(1, good).code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(MembershipTest, LongMessagesAreCutBetweenCharacters) {
  ASSERT_EQ(membership().Join(1, OfferOf("w0", 10)), absl::OkStatus());
  v1::WorkerStatus status;
  status.set_message(std::string(1023, 'x') + "\xc3\xa9\xc3\xa9");
  ASSERT_EQ(membership().Report(1, status), absl::OkStatus());
  EXPECT_EQ(membership().members().at("w0").status.message(), std::string(1023, 'x'));
}

TEST_F(MembershipTest, UnsettledUntilTheRestartGraceIsOver) {
  options_.restart_grace = absl::Seconds(2);
  ASSERT_EQ(membership().Join(1, OfferOf("w0", 10)), absl::OkStatus());
  ASSERT_EQ(membership().Join(2, OfferOf("w1", 11)), absl::OkStatus());
  EXPECT_FALSE(membership().settled());
  EXPECT_THAT(membership().plan().groups, IsEmpty());
  clock_.Advance(absl::Seconds(2));
  membership().Tick();
  EXPECT_TRUE(membership().settled());
  EXPECT_THAT(membership().plan().groups, SizeIs(1));
}

TEST_F(MembershipTest, TheDrainingListIsWholeEachTime) {
  StartGroup();
  const uint64_t version = membership().version();
  ASSERT_EQ(membership().SetDraining({"w1", "unknown"}), absl::OkStatus());
  EXPECT_TRUE(membership().Table().groups(0).draining());
  EXPECT_GT(membership().version(), version);
  ASSERT_EQ(membership().SetDraining({}), absl::OkStatus());
  EXPECT_FALSE(membership().Table().groups(0).draining());
  EXPECT_EQ(membership().SetDraining(std::vector<std::string>(kMaxMembers + 1, "w")).code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(MembershipTest, WhoLeavesDrainsAndIsGoneWithItsStream) {
  StartGroup();
  v1::WorkerStatus status;
  status.set_phase(v1::WORKER_PHASE_SERVING);
  *status.mutable_seat() = membership().members().at("w1").told;
  status.set_leaving(true);
  ASSERT_EQ(membership().Report(2, status), absl::OkStatus());
  EXPECT_TRUE(membership().Table().groups(0).draining());
  const std::vector<Membership::Message> messages = membership().TakeMessages();
  ASSERT_THAT(messages, SizeIs(1));
  EXPECT_EQ(messages[0].stream, 1u);
  EXPECT_EQ(messages[0].response.drain().seat().epoch(), 1u);
  membership().EndStream(2);  // no grace: it does not come back
  EXPECT_THAT(membership().members(), SizeIs(1));
  EXPECT_EQ(membership().Table().groups(0).state(), v1::GROUP_STATE_BROKEN);
}

TEST_F(MembershipTest, RoutersVersionIsOfWhatTheyReach) {
  v1::RouterReport report;
  report.set_router_id("r");
  ASSERT_EQ(membership().ReportRouter(9, report), absl::OkStatus());
  const uint64_t version = membership().routers_version();
  report.set_queued_requests(7);
  ASSERT_EQ(membership().ReportRouter(9, report), absl::OkStatus());
  EXPECT_EQ(membership().routers_version(), version);
  report.add_routable()->set_group_id("pool-0");
  ASSERT_EQ(membership().ReportRouter(9, report), absl::OkStatus());
  EXPECT_GT(membership().routers_version(), version);
}

}  // namespace
}  // namespace slmmesh
