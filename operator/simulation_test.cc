// The plan in a world that goes wrong: caches that lag and mix up the order, lost writes, crashes between any two
// steps, clocks that jump, pods, heads and routers that die, specs that change all the time. Whatever the seed: no step
// takes serving groups below the floor or cuts off answers, and once the dice rest, exactly what is wanted is there.
// SLMMESH_SIMULATION_SEEDS=N runs N seeds, SLMMESH_SIMULATION_FIRST=N starts at seed N.
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <optional>
#include <random>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "operator/names.h"
#include "operator/testing/world.h"
#include "operator/unit.h"
#include "proto/program_knobs.h"

namespace slmmesh {
namespace {

using nlohmann::json;

constexpr int kRounds = 40;
constexpr int kQuietRounds = 250;
constexpr int kLongestLag = 2;  // rounds
constexpr int kLongestRoundSeconds = 2;
// Until then the operator may not know that a group serves, or that it is gone.
constexpr absl::Duration kUnknowing = absl::Seconds(kLongestRoundSeconds * (kLongestLag + 2));

uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  uint64_t number = 0;
  return text != nullptr && absl::SimpleAtoi(text, &number) ? number : otherwise;
}

// A value that follows the truth with a lag.
template <typename T>
class Lagging {
 public:
  explicit Lagging(T value) : seen_(std::move(value)) {}
  const T& seen() const { return seen_; }
  template <typename Truth>
  void Update(const Truth& truth, bool arrives) {
    if (arrives || ++age_ > kLongestLag) {
      seen_ = truth();
      age_ = 0;
    }
  }

 private:
  T seen_;
  int age_ = 0;
};

class Simulation {
 public:
  explicit Simulation(uint64_t seed) : dice_(seed), world_(RandomSpec()), clock_jumps_(Chance(0.3)) {
    world_.load_time = absl::Seconds(3);
    world_.answer_time = absl::Seconds(3);
    world_.never_starts = [](const WorldPod& pod) {
      return absl::StrContains(pod.image, "bad") && pod.seen.role == PodRole::kWorker;
    };
    Resync();
  }

  // Empty when all went well, else what went wrong.
  std::string Run() {
    for (int round = 0; round < kRounds && problem_.empty(); ++round) {
      Disturb();
      Pass(/*is_calm=*/false);
      world_.Tick(absl::Seconds(1 + Pick(kLongestRoundSeconds)));
      CatchUp(/*all=*/false);
    }
    if (problem_.empty()) ComeToRest();
    if (problem_.empty()) CheckEnd();
    return problem_.empty() ? "" : absl::StrCat(problem_, "\n  ", absl::StrJoin(log_, "\n  "));
  }

 private:
  uint32_t Pick(uint32_t below) { return static_cast<uint32_t>(dice_() % below); }
  bool Chance(double probability) { return std::uniform_real_distribution<double>(0, 1)(dice_) < probability; }
  void Log(const std::string& what) {
    log_.push_back(absl::StrCat(absl::ToUnixSeconds(world_.now) - 1'800'000'000, " ", what));
  }
  void Problem(const std::string& what) {
    if (problem_.empty()) problem_ = what;
  }

  json RandomSpec() {
    const uint32_t size = 1 + Pick(2);
    const uint32_t groups = Pick(4);
    const uint32_t surge = Pick(3);
    const bool is_bad = !is_resting_ && Chance(0.2);
    const std::string image = absl::StrCat(is_bad ? "bad:" : "good:", Pick(3));
    return {{"model", {{"servedName", "tiny"}, {"path", "/models/tiny"}}},
            {"tensorParallelSize", size},
            {"workerGroupSpecs",
             json::array({{{"groupName", Chance(0.9) ? "cpu" : "other"},
                           {"replicas", groups * size},
                           {"minReplicas", 0},
                           {"maxReplicas", 4 * size},
                           {"template", {{"spec", {{"containers", json::array({{{"image", image}}})}}}}}}})},
            {"routerSpec",
             {{"replicas", 1 + Pick(2)},
              {"template",
               {{"spec", {{"containers", json::array({{{"image", Chance(0.8) ? "router:1" : "router:2"}}})}}}}}}},
            {"rollout",
             {{"maxSurge", surge},
              {"maxUnavailable", surge == 0 ? 1 + Pick(2) : Pick(2)},
              {"drainSeconds", 8},
              {"progressDeadlineSeconds", 40},
              {"historyLimit", 1 + Pick(4)}}}};
  }

  void Disturb() {
    if (Chance(0.12)) EditSpec();
    if (Chance(0.15)) DisturbPod();
    if (Chance(0.03)) {
      world_.RestartHead();
      Log("the head restarts");
    }
    if (clock_jumps_ && Chance(0.05)) {
      skew_ = absl::Seconds(static_cast<int>(Pick(400)) - 200);
      Log(absl::StrCat("the operator's clock is off by ", absl::FormatDuration(skew_)));
    }
    if (Chance(0.03)) world_.settings.worker_image = absl::StrCat("worker:", Pick(3));
    if (Chance(0.2)) world_.busy_requests = Pick(2);
    if (Chance(0.03) && world_.services.count("demo") > 0) world_.services["demo"]["spec"]["selector"] = json::object();
    if (Chance(0.02)) world_.ca_is_current = false;
  }

  void EditSpec() {
    const bool is_revert = !earlier_.empty() && Chance(0.4);
    const json spec = is_revert ? earlier_[Pick(static_cast<uint32_t>(earlier_.size()))] : RandomSpec();
    earlier_.push_back(spec);
    world_.SetSpec(spec);
    Log(absl::StrCat("spec ", spec["workerGroupSpecs"].dump(), spec["rollout"].dump()));
  }

  void DisturbPod() {
    if (world_.pods.empty()) return;
    auto pod = world_.pods.begin();
    std::advance(pod, Pick(static_cast<uint32_t>(world_.pods.size())));
    const std::string name = pod->first;
    if (const WorldGroup* group = world_.GroupOf(name); group != nullptr) {
      lost_.emplace_back(world_.now, group->worker_group);
    }
    const uint32_t what = Pick(3);
    Log(absl::StrCat(what == 0 ? "killed: " : what == 1 ? "evicted: " : "failed: ", name));
    if (what == 0) world_.KillPod(name);
    if (what == 1) world_.EvictPod(name);
    if (what == 2) world_.FailPod(name, "failed by dice");
  }

  // A new process of the operator lists everything.
  void Resync() {
    cluster_.emplace(std::make_shared<ObservedCluster>(world_.cluster));
    table_.emplace(world_.Table());
    pods_.clear();
    for (const auto& [name, pod] : world_.pods) pods_.emplace(name, Lagging<std::optional<ObservedPod>>(pod.seen));
  }

  void CatchUp(bool all) {
    const auto arrives = [&] { return all || Chance(0.6); };
    cluster_->Update([this] { return std::make_shared<ObservedCluster>(world_.cluster); }, arrives());
    table_->Update([this] { return world_.Table(); }, arrives());
    for (const auto& [name, pod] : world_.pods) pods_.try_emplace(name, std::nullopt);
    for (auto pod = pods_.begin(); pod != pods_.end();) {
      const auto truth = world_.pods.find(pod->first);
      const bool is_gone = truth == world_.pods.end();
      pod->second.Update([&] { return is_gone ? std::nullopt : std::optional(truth->second.seen); }, arrives());
      const bool is_forgotten = !pod->second.seen().has_value() && is_gone;
      pod = is_forgotten ? pods_.erase(pod) : std::next(pod);
    }
  }

  Observed Observe() const {
    Observed observed;
    observed.cluster = *cluster_->seen();
    observed.table = table_->seen();
    world_.ObserveRest(&observed);
    for (const auto& [name, pod] : pods_) {
      if (pod.seen().has_value()) observed.pods.push_back(*pod.seen());
    }
    return observed;
  }

  // Observes, plans, acts, writes the status. Dice decide what fails.
  void Pass(bool is_calm) {
    const Observed observed = Observe();
    const ClusterPlan plan = PlanCluster(observed, world_.settings, world_.now + skew_);
    for (const Step& step : plan.steps) {
      if (!is_calm && Chance(0.02)) {
        Log("the operator restarts");
        return Resync();
      }
      if (!is_calm && Chance(0.02)) {
        Log(absl::StrCat("refused: ", step.ToString()));
        return;
      }
      if (step.kind != StepKind::kEvent) ++steps_;
      if (!Act(observed.cluster, plan, step)) return;
    }
    const bool is_news = !google::protobuf::util::MessageDifferencer::Equals(plan.status, observed.cluster.status);
    if (!is_news || (!is_calm && Chance(0.05))) return;
    world_.WriteStatus(plan.status);
    ++steps_;
    cluster_->Update([this] { return std::make_shared<ObservedCluster>(world_.cluster); },
                     true);  // the answer to a write is what it made
  }

  bool Act(const ObservedCluster& cluster, const ClusterPlan& plan, const Step& step) {
    Log(step.ToString());
    if (step.kind != StepKind::kSetDraining && step.kind != StepKind::kDeletePod) return world_.Act(cluster, step);
    if (step.kind == StepKind::kDeletePod) CheckAnswers(cluster, step.name);
    std::map<std::string, uint32_t> before;
    for (const auto& group : plan.status.worker_groups()) {
      before[group.group_name()] = world_.CountServing(group.group_name(), kUnknowing);
    }
    const bool done = world_.Act(cluster, step);
    for (const std::string& pod : world_.draining) draining_since_.try_emplace(pod, world_.now);
    for (const auto& group : plan.status.worker_groups()) CheckFloor(cluster, group, before[group.group_name()], step);
    return done;
  }

  void CheckFloor(const ObservedCluster& cluster, const v1::WorkerGroupStatus& group, uint32_t before,
                  const Step& step) {
    const v1::RolloutSpec& rollout = cluster.spec.rollout();
    const uint32_t below =
        rollout.max_surge() == 0 ? std::max(rollout.max_unavailable(), 1u) : rollout.max_unavailable();
    const uint32_t floor = group.wanted_groups() > below ? group.wanted_groups() - below : 0;
    const uint32_t after = world_.CountServing(group.group_name());
    uint32_t unknown = 0;
    for (const auto& [time, worker_group] : lost_) {
      if (worker_group == group.group_name() && world_.now - time <= kUnknowing) ++unknown;
    }
    const bool lost_one = world_.CountServing(group.group_name(), kUnknowing) < before;
    if (lost_one && after + unknown < floor) {
      Problem(absl::StrCat(step.ToString(), " leaves ", after, " groups of ", group.group_name(),
                           " serving, the floor is ", floor));
    }
  }

  void CheckAnswers(const ObservedCluster& cluster, const std::string& pod) {
    const WorldGroup* group = world_.GroupOf(pod);
    if (group == nullptr || group->requests == 0 || clock_jumps_) return;
    const bool ends_anyway = std::any_of(group->seats.begin(), group->seats.end(), [this](const std::string& seat) {
      return world_.pods.count(seat) == 0 || !IsPresent(world_.pods.at(seat).seen);
    });
    if (ends_anyway) return;
    const auto since = draining_since_.find(pod);
    const absl::Duration time = absl::Seconds(DrainSeconds(cluster.spec)) - absl::Seconds(1);
    if (since == draining_since_.end() || world_.now - since->second < time) {
      Problem(absl::StrCat("DeletePod ", pod, " cuts off answers"));
    }
  }

  void ComeToRest() {
    is_resting_ = true;
    skew_ = absl::ZeroDuration();
    world_.SetSpec(RandomSpec());
    Log(absl::StrCat("rest: ", world_.cluster.raw_spec.ShortDebugString()));
    CatchUp(/*all=*/true);
    steps_ = 0;
    int idle = 0;
    for (int round = 0; round < kQuietRounds && idle < 8 && problem_.empty(); ++round) {
      const int before = steps_;
      Pass(/*is_calm=*/true);
      idle = steps_ == before ? idle + 1 : 0;
      world_.Tick(absl::Seconds(kLongestRoundSeconds));
      CatchUp(/*all=*/true);
    }
    if (idle < 8) Problem("it never settles");
    if (steps_ > 150) Problem(absl::StrCat(steps_, " steps to settle"));
  }

  void CheckEnd() {
    const v1::InferenceClusterStatus& status = world_.cluster.status;
    const auto& spec = world_.cluster.spec;
    const uint32_t workers = spec.worker_group_specs(0).replicas();
    if (world_.PodNames(PodRole::kWorker).size() != workers) Problem("another number of workers than wanted");
    if (world_.PodNames(PodRole::kRouter).size() != spec.router_spec().replicas()) Problem("routers are left or lack");
    if (world_.PodNames(PodRole::kHead).size() != 1) Problem("not one head");
    if (world_.pods.size() != 1 + workers + spec.router_spec().replicas()) Problem("pods are left");
    if (world_.ServingGroups().size() != workers / spec.tensor_parallel_size()) Problem("not all groups serve");
    if (!world_.draining.empty() || status.draining_size() > 0) Problem("pods drain for ever");
    if (world_.services.size() != 2) Problem("services are left or lack");
    const size_t budgets = workers / spec.tensor_parallel_size() >= 2 ? 1 : 0;
    if (world_.disruption_budgets.size() != budgets) Problem("disruption budgets are left or lack");
    if (status.state() != (workers == 0 ? "ScaledToZero" : "Ready")) Problem(absl::StrCat("state ", status.state()));
    if (!problem_.empty()) log_.push_back(status.ShortDebugString());
  }

  std::mt19937_64 dice_;
  bool is_resting_ = false;
  World world_;
  const bool clock_jumps_;
  absl::Duration skew_;
  std::vector<json> earlier_;
  std::optional<Lagging<std::shared_ptr<const ObservedCluster>>> cluster_;
  std::optional<Lagging<std::shared_ptr<const v1::ClusterTable>>> table_;
  std::map<std::string, Lagging<std::optional<ObservedPod>>> pods_;
  std::vector<std::pair<absl::Time, std::string>> lost_;  // groups, by accident
  std::map<std::string, absl::Time> draining_since_;
  int steps_ = 0;
  std::string problem_;
  std::vector<std::string> log_;
};

TEST(SimulationTest, NeverBelowTheFloorAndAlwaysAtRestInTheEnd) {
  const uint64_t first = FromEnvironment("SLMMESH_SIMULATION_FIRST", 1);
  const uint64_t seeds = FromEnvironment("SLMMESH_SIMULATION_SEEDS", 100);
  int failures = 0;
  for (uint64_t seed = first; seed < first + seeds && failures < 3; ++seed) {
    const std::string problem = Simulation(seed).Run();
    EXPECT_EQ(problem, "") << "seed " << seed;
    if (!problem.empty()) ++failures;
  }
}

}  // namespace
}  // namespace slmmesh
