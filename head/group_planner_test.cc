// Tables: members and groups in, the exact commands and groups out.
#include "head/group_planner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "head/group_state.h"

namespace slmmesh {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// A world with one pool "pool" of groups of two; commands are written as "w0 takes pool-0 epoch 1 rank 0".
class GroupPlannerTest : public testing::Test {
 protected:
  Member& Add(const std::string& worker_id, const std::string& host = "host", uint32_t size = 2) {
    Member member;
    member.offer.set_worker_id(worker_id);
    member.offer.set_incarnation(++incarnation_);
    member.offer.set_worker_group("pool");
    member.offer.set_model_key("model");
    member.offer.set_tensor_parallel_size(size);
    member.offer.set_host_id(host);
    member.offer.set_endpoint(worker_id + ":1");
    return members_[worker_id] = member;
  }

  Member& AddHolder(const std::string& worker_id, const std::string& group_id, uint64_t epoch, uint32_t rank) {
    Member& member = Add(worker_id);
    member.told.set_group_id(group_id);
    member.told.set_epoch(epoch);
    member.told.set_rank(rank);
    member.told.set_size(2);
    return member;
  }

  // Plans, applies the commands and returns them.
  std::vector<std::string> Step(absl::Duration passed = absl::ZeroDuration()) {
    now_ += passed;
    plan_ = PlanGroups(plan_, members_, rules_, now_);
    std::vector<std::string> commands;
    for (const Command& command : CommandsFor(plan_, members_)) {
      if (command.drain) {
        members_.at(command.worker_id).drained_epoch = command.seat.epoch();
        commands.push_back(
            absl::StrCat(command.worker_id, " ends ", command.seat.group_id(), " epoch ", command.seat.epoch()));
        continue;
      }
      members_.at(command.worker_id).told = command.seat;
      commands.push_back(command.seat.group_id().empty()
                             ? command.worker_id + " releases"
                             : absl::StrCat(command.worker_id, " takes ", command.seat.group_id(), " epoch ",
                                            command.seat.epoch(), " rank ", command.seat.rank()));
    }
    return commands;
  }

  void Says(const std::string& worker_id, v1::WorkerPhase phase, const std::string& message = "") {
    Member& member = members_.at(worker_id);
    member.status.set_phase(phase);
    *member.status.mutable_seat() = member.told;
    member.status.set_message(message);
  }

  // As the membership does when the worker says so; it goes on serving.
  void Leaves(const std::string& worker_id) {
    members_.at(worker_id).status.set_leaving(true);
    members_.at(worker_id).draining = true;
  }

  v1::Group Group(const std::string& group_id) { return DescribeGroup(group_id, plan_.groups.at(group_id), members_); }

  void ServeAll() {
    for (const auto& [worker_id, member] : members_) {
      if (!member.told.group_id().empty()) Says(worker_id, v1::WORKER_PHASE_SERVING);
    }
  }

  uint64_t incarnation_ = 0;
  absl::Time now_ = absl::UnixEpoch();
  PlannerRules rules_;
  Members members_;
  Plan plan_;
};

TEST_F(GroupPlannerTest, FormsAGroupOnceThereAreEnough) {
  Add("w0");
  EXPECT_THAT(Step(), IsEmpty());
  Add("w1");
  EXPECT_THAT(Step(), ElementsAre("w0 takes pool-0 epoch 1 rank 0", "w1 takes pool-0 epoch 1 rank 1"));
  EXPECT_THAT(Step(), IsEmpty());
  EXPECT_EQ(Group("pool-0").state(), v1::GROUP_STATE_FORMING);
  EXPECT_EQ(Group("pool-0").message(), "rank 0 (w0) is taking its seat");
}

TEST_F(GroupPlannerTest, ReadyWhenEveryRankServesThisEpoch) {
  Add("w0");
  Add("w1");
  Step();
  Says("w0", v1::WORKER_PHASE_SERVING);
  Says("w1", v1::WORKER_PHASE_LOADING);
  EXPECT_THAT(Step(), IsEmpty());
  EXPECT_EQ(Group("pool-0").message(), "rank 1 (w1) is loading");
  EXPECT_EQ(Group("pool-0").leader_endpoint(), "");
  Says("w1", v1::WORKER_PHASE_SERVING);
  EXPECT_THAT(Step(), IsEmpty());
  EXPECT_EQ(Group("pool-0").state(), v1::GROUP_STATE_READY);
  EXPECT_EQ(Group("pool-0").leader_endpoint(), "w0:1");
  members_.at("w1").status.mutable_seat()->set_epoch(0);  // serving, but not this epoch
  EXPECT_EQ(Group("pool-0").state(), v1::GROUP_STATE_FORMING);
}

TEST_F(GroupPlannerTest, PrefersMembersOfOneHost) {
  Add("w0", "a");
  Add("w1", "b");
  Add("w2", "c");
  Add("w3", "b");
  Add("w4", "a");
  EXPECT_THAT(Step(), ElementsAre("w0 takes pool-0 epoch 1 rank 0", "w1 takes pool-1 epoch 2 rank 0",
                                  "w3 takes pool-1 epoch 2 rank 1", "w4 takes pool-0 epoch 1 rank 1"));
}

TEST_F(GroupPlannerTest, DifferentModelsOrSizesDoNotMix) {
  Add("w0");
  Add("w1").offer.set_model_key("other");
  Add("w2").offer.set_worker_group("elsewhere");
  Add("w3", "host", 4);
  EXPECT_THAT(Step(), IsEmpty());
  Add("w4", "host", 1);
  EXPECT_THAT(Step(), ElementsAre("w4 takes pool-0 epoch 1 rank 0"));
}

TEST_F(GroupPlannerTest, ADeathBreaksTheGroupAtOnceAndASpareTakesTheRank) {
  for (const char* worker_id : {"w0", "w1", "w2"}) Add(worker_id);
  Step();
  ServeAll();
  Step();
  members_.erase("w0");
  EXPECT_THAT(Step(), ElementsAre("w1 takes pool-0 epoch 2 rank 1", "w2 takes pool-0 epoch 2 rank 0"));
}

TEST_F(GroupPlannerTest, WithoutASpareSurvivorsKeepTheirSeatsUntilTheWorkerIsBack) {
  Add("w0");
  Add("w1");
  Step();
  ServeAll();
  members_.erase("w1");
  EXPECT_THAT(Step(), IsEmpty());
  EXPECT_EQ(Group("pool-0").state(), v1::GROUP_STATE_BROKEN);
  EXPECT_EQ(Group("pool-0").message(), "rank 1 is vacant: w1 is gone");
  EXPECT_THAT(Group("pool-0").worker_ids(), ElementsAre("w0", ""));
  Add("w1");
  EXPECT_THAT(Step(), ElementsAre("w0 takes pool-0 epoch 2 rank 0", "w1 takes pool-0 epoch 2 rank 1"));
}

TEST_F(GroupPlannerTest, ANewProcessTakesItsOldSeatBeforeASpareDoes) {
  for (const char* worker_id : {"a", "w0", "w1"}) Add(worker_id);
  Step();  // a and w0; w1 is the spare
  ServeAll();
  Add("w0");  // another incarnation, seen in the same moment in which the old one is gone
  EXPECT_THAT(Step(), ElementsAre("a takes pool-0 epoch 2 rank 0", "w0 takes pool-0 epoch 2 rank 1"));
}

TEST_F(GroupPlannerTest, ASpareOfTheSameHostIsPreferred) {
  Add("w0", "a");
  Add("w1", "a");
  Step();
  Add("x", "b");
  Add("y", "a").offer.set_tensor_parallel_size(2);
  plan_ =
      PlanGroups(plan_, {{"w0", members_.at("w0")}, {"x", members_.at("x")}, {"y", members_.at("y")}}, rules_, now_);
  EXPECT_EQ(plan_.groups.at("pool-0").seats[1].worker_id, "y");
}

TEST_F(GroupPlannerTest, FailedEpochsAreRetriedLaterEachTime) {
  Add("w0");
  Add("w1");
  Step();
  Says("w1", v1::WORKER_PHASE_FAILED, "peer timed out");
  EXPECT_THAT(Step(), IsEmpty());
  EXPECT_EQ(Group("pool-0").state(), v1::GROUP_STATE_BROKEN);
  EXPECT_EQ(Group("pool-0").message(), "rank 1 (w1) failed: peer timed out");
  absl::Duration delay = kFirstRetryDelay;
  for (uint64_t epoch = 2; epoch < 14; ++epoch) {
    EXPECT_THAT(Step(delay - absl::Milliseconds(1)), IsEmpty()) << epoch;
    EXPECT_THAT(Step(absl::Milliseconds(1)), ElementsAre(absl::StrCat("w0 takes pool-0 epoch ", epoch, " rank 0"),
                                                         absl::StrCat("w1 takes pool-0 epoch ", epoch, " rank 1")));
    Says("w1", v1::WORKER_PHASE_FAILED);
    EXPECT_THAT(Step(), IsEmpty());
    delay = std::min(delay * 2, absl::Seconds(30));
  }
  EXPECT_EQ(delay, absl::Seconds(30));
}

TEST_F(GroupPlannerTest, LongServiceForgivesFailures) {
  Add("w0");
  Add("w1");
  Step();
  Says("w1", v1::WORKER_PHASE_FAILED);
  Step();
  Step(kFirstRetryDelay);
  ServeAll();
  Step();
  EXPECT_EQ(plan_.groups.at("pool-0").failures, 1u);
  Step(kReadyForgivesFailures);
  EXPECT_EQ(plan_.groups.at("pool-0").failures, 0u);
}

TEST_F(GroupPlannerTest, NoRetryWhileARanksStreamIsCut) {
  Add("w0");
  Add("w1");
  Step();
  Says("w0", v1::WORKER_PHASE_FAILED);
  members_.at("w1").connected = false;
  EXPECT_THAT(Step(), IsEmpty());
  EXPECT_THAT(Step(absl::Seconds(1)), IsEmpty());
  members_.at("w1").connected = true;
  EXPECT_THAT(Step(), ElementsAre("w0 takes pool-0 epoch 2 rank 0", "w1 takes pool-0 epoch 2 rank 1"));
}

TEST_F(GroupPlannerTest, ARestartedHeadTakesSeatsAsTheyAre) {
  rules_.may_form = false;
  AddHolder("w0", "pool-3", 7, 0);
  Add("spare");
  EXPECT_THAT(Step(), IsEmpty());
  EXPECT_EQ(Group("pool-3").state(), v1::GROUP_STATE_BROKEN);
  AddHolder("w1", "pool-3", 7, 1);
  ServeAll();
  EXPECT_THAT(Step(), IsEmpty());
  EXPECT_EQ(Group("pool-3").state(), v1::GROUP_STATE_READY);
  EXPECT_EQ(Group("pool-3").epoch(), 7u);
  rules_.may_form = true;
  EXPECT_THAT(Step(), IsEmpty());
  Add("spare2");
  EXPECT_THAT(Step(), ElementsAre("spare takes pool-0 epoch 8 rank 0", "spare2 takes pool-0 epoch 8 rank 1"));
}

TEST_F(GroupPlannerTest, AfterTheGraceASpareFillsWhatNobodyClaimed) {
  rules_.may_form = false;
  AddHolder("w0", "pool-0", 7, 0);
  Add("spare");
  EXPECT_THAT(Step(), IsEmpty());
  rules_.may_form = true;
  EXPECT_THAT(Step(), ElementsAre("spare takes pool-0 epoch 8 rank 1", "w0 takes pool-0 epoch 8 rank 0"));
}

TEST_F(GroupPlannerTest, OfConflictingClaimsTheHigherEpochWins) {
  rules_.may_form = false;
  AddHolder("w0", "pool-0", 6, 0);
  EXPECT_THAT(Step(), IsEmpty());
  AddHolder("w1", "pool-0", 7, 0);
  AddHolder("w2", "pool-0", 6, 1);
  EXPECT_THAT(Step(), ElementsAre("w0 releases", "w2 releases"));
  EXPECT_EQ(Group("pool-0").epoch(), 7u);
  EXPECT_THAT(Group("pool-0").worker_ids(), ElementsAre("w1", ""));
}

TEST_F(GroupPlannerTest, OneSeatIsNotGivenTwice) {
  rules_.may_form = false;
  AddHolder("w0", "pool-0", 6, 0);
  AddHolder("w1", "pool-0", 6, 0);
  EXPECT_THAT(Step(), ElementsAre("w1 releases"));
}

TEST_F(GroupPlannerTest, ImpossibleClaimsAreReleased) {
  rules_.may_form = false;
  AddHolder("epoch0", "pool-0", 0, 0);
  AddHolder("rank2", "pool-0", 5, 2);
  AddHolder("size", "pool-0", 5, 0).told.set_size(4);
  AddHolder("w0", "pool-0", 5, 0);
  AddHolder("x", "pool-0", 5, 1).offer.set_model_key("other");
  EXPECT_THAT(Step(), ElementsAre("epoch0 releases", "rank2 releases", "size releases", "x releases"));
}

TEST_F(GroupPlannerTest, WhoComesBackAfterItsSeatWasGivenAwayIsReleased) {
  for (const char* worker_id : {"w0", "w1", "w2"}) Add(worker_id);
  Step();
  const Member cut_off = members_.at("w1");
  members_.erase("w1");
  Step();
  members_["w1"] = cut_off;
  EXPECT_THAT(Step(), ElementsAre("w1 releases"));
}

TEST_F(GroupPlannerTest, WhoComesBackBeforeThatServesOnInTheSameEpoch) {
  Add("w0");
  Add("w1");
  Step();
  ServeAll();
  const Member cut_off = members_.at("w1");
  members_.erase("w1");
  Step();
  members_["w1"] = cut_off;
  EXPECT_THAT(Step(), IsEmpty());
  EXPECT_EQ(Group("pool-0").state(), v1::GROUP_STATE_READY);
  EXPECT_EQ(Group("pool-0").epoch(), 1u);
}

TEST_F(GroupPlannerTest, TwoBrokenGroupsMakeOneInTheEnd) {
  for (const char* worker_id : {"w0", "w1", "w2", "w3"}) Add(worker_id);
  Step();
  members_.erase("w1");
  members_.erase("w2");
  EXPECT_THAT(Step(), IsEmpty());
  EXPECT_THAT(Step(rules_.replacement_wait - absl::Milliseconds(1)), IsEmpty());
  EXPECT_THAT(Step(absl::Milliseconds(1)),
              ElementsAre("w0 takes pool-0 epoch 3 rank 0", "w3 takes pool-0 epoch 3 rank 1"));
  EXPECT_EQ(plan_.groups.size(), 1u);
}

TEST_F(GroupPlannerTest, ALoneBrokenGroupKeepsItsSurvivorsForever) {
  Add("w0");
  Add("w1");
  Step();
  members_.erase("w1");
  Step();
  EXPECT_THAT(Step(absl::Hours(24)), IsEmpty());
  EXPECT_EQ(Group("pool-0").state(), v1::GROUP_STATE_BROKEN);
  members_.erase("w0");
  Step();
  EXPECT_THAT(plan_.groups, IsEmpty());  // nobody is left, and it has waited long enough
}

TEST_F(GroupPlannerTest, GroupsOfOneMemberComeBackUnderANewEpoch) {
  Add("w0", "host", 1);
  EXPECT_THAT(Step(), ElementsAre("w0 takes pool-0 epoch 1 rank 0"));
  members_.erase("w0");
  Step();
  EXPECT_EQ(Group("pool-0").state(), v1::GROUP_STATE_BROKEN);
  Add("w0", "host", 1);
  EXPECT_THAT(Step(), ElementsAre("w0 takes pool-0 epoch 2 rank 0"));
}

TEST_F(GroupPlannerTest, OnlyEqualRevisionsFormAGroup) {
  Add("w0").offer.set_revision("1");
  Add("w1").offer.set_revision("2");
  EXPECT_THAT(Step(), IsEmpty());
  Add("w2").offer.set_revision("2");
  EXPECT_THAT(Step(), ElementsAre("w1 takes pool-0 epoch 1 rank 0", "w2 takes pool-0 epoch 1 rank 1"));
  EXPECT_EQ(Group("pool-0").revision(), "2");
}

TEST_F(GroupPlannerTest, AReplacementOfTheSameRevisionTakesTheRank) {
  Add("w0").offer.set_revision("1");
  Add("w1").offer.set_revision("1");
  Step();
  ServeAll();
  members_.erase("w0");
  Add("a-newer").offer.set_revision("2");
  EXPECT_THAT(Step(), IsEmpty());
  Add("w0-b").offer.set_revision("1");
  EXPECT_THAT(Step(), ElementsAre("w0-b takes pool-0 epoch 2 rank 0", "w1 takes pool-0 epoch 2 rank 1"));
}

TEST_F(GroupPlannerTest, WhoDrainsGetsNoSeat) {
  Add("w0").draining = true;
  Add("w1");
  EXPECT_THAT(Step(), IsEmpty());
  members_.at("w0").draining = false;
  EXPECT_THAT(Step(), ElementsAre("w0 takes pool-0 epoch 1 rank 0", "w1 takes pool-0 epoch 1 rank 1"));
}

TEST_F(GroupPlannerTest, AGroupThatDrainsIsMarkedAndGoesOn) {
  Add("w0");
  Add("w1");
  Step();
  ServeAll();
  members_.at("w1").draining = true;
  EXPECT_THAT(Step(), IsEmpty());
  EXPECT_TRUE(Group("pool-0").draining());
  EXPECT_EQ(Group("pool-0").state(), v1::GROUP_STATE_READY);
  EXPECT_EQ(Group("pool-0").leader_endpoint(), "w0:1");
  members_.at("w1").draining = false;
  EXPECT_THAT(Step(), IsEmpty());
  EXPECT_FALSE(Group("pool-0").draining());
}

TEST_F(GroupPlannerTest, ABrokenGroupIsNotFormedAgainWithThoseWhoDrain) {
  Add("w0");
  Add("w1");
  Step();
  ServeAll();
  members_.at("w1").draining = true;
  members_.erase("w0");
  Add("w2");
  EXPECT_THAT(Step(), ElementsAre("w1 releases"));
  Add("w3");
  EXPECT_THAT(Step(), ElementsAre("w2 takes pool-0 epoch 2 rank 0", "w3 takes pool-0 epoch 2 rank 1"));
}

TEST_F(GroupPlannerTest, AFailedEpochIsNotTriedAgainWithThoseWhoDrain) {
  Add("w0");
  Add("w1");
  Step();
  ServeAll();
  members_.at("w1").draining = true;
  Says("w0", v1::WORKER_PHASE_FAILED, "deadline");
  EXPECT_THAT(Step(), ElementsAre("w1 releases"));
  EXPECT_THAT(Step(absl::Seconds(1)), IsEmpty());
  Add("w2");
  EXPECT_THAT(Step(), ElementsAre("w0 takes pool-0 epoch 2 rank 0", "w2 takes pool-0 epoch 2 rank 1"));
}

TEST_F(GroupPlannerTest, TheLeaderEndsTheEpochOfAGroupThatARankLeaves) {
  Add("w0");
  Add("w1");
  Step();
  Leaves("w1");
  EXPECT_THAT(Step(), IsEmpty());  // it forms: there is nothing to end yet
  ServeAll();
  Leaves("w1");
  EXPECT_THAT(Step(), ElementsAre("w0 ends pool-0 epoch 1"));
  EXPECT_THAT(Step(), IsEmpty());
  members_.erase("w1");
  Says("w0", v1::WORKER_PHASE_IDLE);
  Add("w1-b");
  EXPECT_THAT(Step(), ElementsAre("w0 takes pool-0 epoch 2 rank 0", "w1-b takes pool-0 epoch 2 rank 1"));
}

TEST_F(GroupPlannerTest, ALeaderThatLeavesEndsItsEpochUnasked) {
  Add("w0");
  Add("w1");
  Step();
  ServeAll();
  Leaves("w0");
  EXPECT_THAT(Step(), IsEmpty());
  EXPECT_TRUE(Group("pool-0").draining());
}

TEST_F(GroupPlannerTest, ReplacementsWaitForTheSeatsOfThoseWhoLeave) {
  for (const char* worker_id : {"w0", "w1", "w2", "w3"}) Add(worker_id);
  Step();
  ServeAll();
  Leaves("w1");
  Leaves("w3");
  Add("w1-b");
  Add("w3-b");
  EXPECT_THAT(Step(), ElementsAre("w0 ends pool-0 epoch 1", "w2 ends pool-1 epoch 2"));  // no third group
  members_.erase("w1");
  members_.erase("w3");
  EXPECT_THAT(Step(), ElementsAre("w0 takes pool-0 epoch 3 rank 0", "w1-b takes pool-0 epoch 3 rank 1",
                                  "w2 takes pool-1 epoch 4 rank 0", "w3-b takes pool-1 epoch 4 rank 1"));
}

TEST_F(GroupPlannerTest, AGroupThatAllLeaveGivesWayToANewOne) {
  Add("w0");
  Add("w1");
  Step();
  ServeAll();
  Leaves("w0");
  Leaves("w1");
  Add("w0-b");
  Add("w1-b");
  EXPECT_THAT(Step(), ElementsAre("w0-b takes pool-1 epoch 2 rank 0", "w1-b takes pool-1 epoch 2 rank 1"));
  members_.erase("w0");
  EXPECT_THAT(Step(), ElementsAre("w1 releases"));
  EXPECT_EQ(plan_.groups.count("pool-0"), 0u);
}

}  // namespace
}  // namespace slmmesh
