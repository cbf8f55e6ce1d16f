// Planner and membership against simulated workers that die, restart, leave, drain, lose their streams and fail, and
// against restarts of the head itself. Everything follows from the printed seed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <random>

#include "common/log.h"
#include "head/group_state.h"
#include "head/membership.h"

namespace slmmesh {
namespace {

constexpr absl::Duration kStep = absl::Milliseconds(50);

struct SimulatedWorker {
  v1::Offer offer;  // its seat: what this worker believes
  bool alive = false;
  StreamId stream = 0;  // 0: not connected
  v1::WorkerPhase phase = v1::WORKER_PHASE_IDLE;
  std::vector<std::pair<std::string, uint64_t>> peers;  // worker and incarnation by rank, of its epoch
  int steps_to_serve = 0;
  int steps_to_heartbeat = 0;
  int steps_to_dial = 0;
  int steps_to_leave = -1;                             // until its process ends in order; -1: it does not leave
  std::deque<std::pair<int, v1::JoinResponse>> inbox;  // delivered after so many steps
};

class Simulation {
 public:
  explicit Simulation(uint64_t seed) : random_(seed) {
    group_size_ = std::vector<uint32_t>{1, 2, 2, 3, 4}[Below(5)];
    const uint64_t count = 1 + Below(9);
    for (uint64_t i = 0; i < count; ++i) {
      SimulatedWorker& worker = workers_["w" + std::to_string(i)];
      worker.offer.set_worker_id("w" + std::to_string(i));
      worker.offer.set_worker_group("pool");
      worker.offer.set_model_key("model");
      worker.offer.set_endpoint("w:1");
      worker.offer.set_tensor_parallel_size(group_size_);
      worker.offer.set_host_id("h" + std::to_string(Below(3)));
      StartProcess(worker);
    }
    StartHead();
  }

  void Run() {
    for (int i = 0; i < 400; ++i) Step(/*disturbed=*/true);
    Drain({});
    // Time to settle: leases, grace, backoff up to 30 s, and one wait per broken group that has to be given up.
    for (int i = 0; i < 5000; ++i) Step(/*disturbed=*/false);
    CheckLiveness();
    const uint64_t commands = commands_;
    for (int i = 0; i < 600; ++i) Step(/*disturbed=*/false);
    EXPECT_EQ(commands_, commands) << "commands although nothing happens";
    // Each disturbance starts a bounded number of epochs, each epoch tells each of its members once.
    EXPECT_LE(commands_, (disturbances_ + workers_.size() + 10) * 8 * group_size_);
  }

 private:
  uint64_t Below(uint64_t bound) { return random_() % bound; }
  bool Chance(uint64_t one_in) { return Below(one_in) == 0; }

  void StartProcess(SimulatedWorker& worker) {
    worker.alive = true;
    worker.offer.set_incarnation(++last_incarnation_);
    worker.offer.clear_seat();
    worker.phase = v1::WORKER_PHASE_IDLE;
    worker.steps_to_dial = static_cast<int>(Below(20));
    worker.steps_to_leave = -1;
    worker.inbox.clear();
  }

  void Drain(const std::vector<std::string>& worker_ids) {
    Deliver();  // what was decided before
    EXPECT_EQ(head_->SetDraining(worker_ids), absl::OkStatus());
  }

  void End(SimulatedWorker& worker) {
    worker.alive = false;
    if (worker.stream != 0 && !Chance(4)) head_->EndStream(worker.stream);  // else only its lease tells
    worker.stream = 0;
  }

  void StartHead() {
    MembershipOptions options;
    options.head_id = "head";
    head_ = std::make_unique<Membership>(options, clock_);
    last_plan_ = Plan();
    ranks_of_epochs_.clear();
    for (auto& [worker_id, worker] : workers_) Cut(worker);
  }

  void Cut(SimulatedWorker& worker) {
    worker.stream = 0;
    worker.inbox.clear();
    worker.steps_to_dial = static_cast<int>(Below(20));
  }

  void Step(bool disturbed) {
    clock_.Advance(kStep);
    if (disturbed) Disturb();
    for (auto& [worker_id, worker] : workers_) {
      if (worker.alive) Live(worker);
    }
    head_->Tick();
    Deliver();
  }

  void Disturb() {
    for (auto& [worker_id, worker] : workers_) {
      if (worker.alive && Chance(300)) {
        ++disturbances_;
        End(worker);
      } else if (worker.alive && worker.steps_to_leave < 0 && Chance(300)) {
        ++disturbances_;
        worker.steps_to_leave = static_cast<int>(Below(60));
        Deliver();
        Say(worker, worker.phase);
      } else if (!worker.alive && Chance(100)) {
        ++disturbances_;
        StartProcess(worker);
      } else if (worker.stream != 0 && Chance(300)) {
        ++disturbances_;
        head_->EndStream(worker.stream);
        Cut(worker);
      }
    }
    if (Chance(100)) {
      std::vector<std::string> draining;
      for (const auto& [worker_id, worker] : workers_) {
        if (Chance(4)) draining.push_back(worker_id);
      }
      disturbances_ += workers_.size();
      Drain(draining);
    }
    if (Chance(300)) {
      disturbances_ += workers_.size();
      StartHead();
    }
    Check();
  }

  void Live(SimulatedWorker& worker) {
    if (worker.stream == 0 && worker.steps_to_dial-- <= 0) {
      worker.stream = ++last_stream_;
      worker.offer.set_leaving(worker.steps_to_leave >= 0);
      EXPECT_EQ(head_->Join(worker.stream, worker.offer), absl::OkStatus());
      Say(worker, worker.phase);
      Deliver();
    }
    while (!worker.inbox.empty() && worker.inbox.front().first <= 0) {
      Obey(worker, worker.inbox.front().second);
      worker.inbox.pop_front();
    }
    if (!worker.inbox.empty()) worker.inbox.front().first--;
    const bool in_epoch = worker.phase == v1::WORKER_PHASE_JOINING || worker.phase == v1::WORKER_PHASE_SERVING;
    if (in_epoch && worker.steps_to_serve-- <= 0) {
      if (!PeersAreThere(worker)) {
        Say(worker, v1::WORKER_PHASE_FAILED);
      } else if (worker.phase == v1::WORKER_PHASE_JOINING) {
        Say(worker, v1::WORKER_PHASE_SERVING);
      }
    }
    if (worker.steps_to_heartbeat-- <= 0) Say(worker, worker.phase);
    if (worker.steps_to_leave >= 0 && worker.steps_to_leave-- == 0) End(worker);
  }

  void Obey(SimulatedWorker& worker, const v1::JoinResponse& response) {
    const bool ends = response.has_drain() && response.drain().seat().epoch() == worker.offer.seat().epoch();
    if (response.has_release() || ends) {
      worker.offer.clear_seat();
      Say(worker, v1::WORKER_PHASE_IDLE);
    } else if (response.has_assignment()) {
      *worker.offer.mutable_seat() = response.assignment().seat();
      worker.peers.clear();
      for (const v1::Peer& peer : response.assignment().peers()) {
        worker.peers.emplace_back(peer.worker_id(), peer.incarnation());
      }
      worker.steps_to_serve = static_cast<int>(20 + Below(20));  // longer than any delivery takes
      Say(worker, v1::WORKER_PHASE_JOINING);
    }
  }

  void Say(SimulatedWorker& worker, v1::WorkerPhase phase) {
    worker.phase = phase;
    worker.steps_to_heartbeat = 20;
    if (worker.stream == 0) return;
    v1::WorkerStatus status;
    status.set_phase(phase);
    status.set_leaving(worker.steps_to_leave >= 0);
    if (worker.offer.has_seat()) *status.mutable_seat() = worker.offer.seat();
    EXPECT_EQ(head_->Report(worker.stream, status), absl::OkStatus());
    Check();
  }

  // All ranks of its epoch are the processes that it was told, and are in the same epoch.
  bool PeersAreThere(const SimulatedWorker& worker) const {
    for (const auto& [worker_id, incarnation] : worker.peers) {
      const SimulatedWorker& peer = workers_.at(worker_id);
      if (!peer.alive || peer.offer.incarnation() != incarnation || peer.phase == v1::WORKER_PHASE_FAILED ||
          peer.offer.seat().epoch() != worker.offer.seat().epoch() ||
          peer.offer.seat().group_id() != worker.offer.seat().group_id()) {
        return false;
      }
    }
    return true;
  }

  void Deliver() {
    Check();
    for (const Membership::Message& message : head_->TakeMessages()) {
      for (auto& [worker_id, worker] : workers_) {
        if (worker.stream != message.stream) continue;
        if (!message.end.ok()) {
          Cut(worker);
          break;
        }
        if (!message.response.has_lease()) ++commands_;
        if (message.response.has_assignment()) CheckAssignment(message.response.assignment(), worker);
        worker.inbox.emplace_back(static_cast<int>(Below(5)), message.response);
      }
    }
  }

  // Whoever is told of an epoch is told the same ranks, and is the process that the others are told of.
  void CheckAssignment(const v1::Assignment& assignment, const SimulatedWorker& worker) {
    EXPECT_EQ(assignment.peers(static_cast<int>(assignment.seat().rank())).incarnation(), worker.offer.incarnation());
    std::string ranks;
    for (const v1::Peer& peer : assignment.peers()) {
      ranks += peer.SerializeAsString();
      EXPECT_FALSE(head_->members().at(peer.worker_id()).draining) << peer.worker_id() << " drains and gets a seat";
    }
    const auto [known, is_new] = ranks_of_epochs_.emplace(assignment.seat().epoch(), ranks);
    EXPECT_EQ(known->second, ranks) << "epoch " << assignment.seat().epoch() << " has two line-ups";
  }

  void Check() {
    const Plan& plan = head_->plan();
    std::map<std::string, std::string> seated;
    std::map<uint64_t, std::string> epochs;
    for (const auto& [group_id, group] : plan.groups) {
      EXPECT_TRUE(epochs.emplace(group.epoch, group_id).second) << "two groups in epoch " << group.epoch;
      EXPECT_LE(group.epoch, plan.highest_epoch);
      for (const Seat& seat : group.seats) {
        if (seat.vacant()) continue;
        EXPECT_TRUE(seated.emplace(seat.worker_id, group_id).second) << seat.worker_id << " has two seats";
      }
      const auto before = last_plan_.groups.find(group_id);
      if (before != last_plan_.groups.end()) CheckSuccession(before->second, group);
    }
    last_plan_ = plan;
  }

  void CheckSuccession(const GroupPlan& before, const GroupPlan& after) {
    EXPECT_GE(after.epoch, before.epoch);
    bool same = true;
    for (uint32_t rank = 0; rank < group_size_; ++rank) {
      const Seat& old_seat = before.seats[rank];
      same &= old_seat.vacant() || after.seats[rank].vacant() || old_seat.incarnation == after.seats[rank].incarnation;
      for (uint32_t other = 0; other < group_size_; ++other) {
        if (!old_seat.vacant() && after.seats[other].incarnation == old_seat.incarnation) {
          EXPECT_EQ(other, rank) << old_seat.worker_id << " changed its rank";
        }
      }
    }
    if (!same) {
      EXPECT_GT(after.epoch, before.epoch) << "another process in the same epoch";
    }
  }

  // As many groups as the live workers can make are ready, and each truly serves.
  void CheckLiveness() {
    size_t alive = 0;
    for (const auto& [worker_id, worker] : workers_) alive += worker.alive ? 1 : 0;
    size_t ready = 0;
    const v1::ClusterTable table = head_->Table();
    for (const v1::Group& group : table.groups()) {
      if (group.state() != v1::GROUP_STATE_READY) continue;
      ++ready;
      for (const std::string& worker_id : group.worker_ids()) {
        EXPECT_EQ(workers_.at(worker_id).phase, v1::WORKER_PHASE_SERVING);
        EXPECT_TRUE(PeersAreThere(workers_.at(worker_id)));
      }
    }
    EXPECT_EQ(ready, alive / group_size_) << table.DebugString();
  }

  std::mt19937_64 random_;
  FakeClock clock_;
  uint32_t group_size_ = 1;
  std::map<std::string, SimulatedWorker> workers_;
  std::unique_ptr<Membership> head_;
  Plan last_plan_;
  std::map<uint64_t, std::string> ranks_of_epochs_;  // as this head gave them
  uint64_t last_incarnation_ = 0;
  StreamId last_stream_ = 0;
  uint64_t commands_ = 0;
  uint64_t disturbances_ = 0;
};

TEST(MembershipSimulationTest, InvariantsHoldForManySeeds) {
  InitLogging("test", LogFormat::kText, LogLevel::kError);
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Simulation(seed).Run();
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace slmmesh
