// A model of everything around the plan: an API server, kubelets, a head, routers and workers, and an operator that
// sees them through caches. Deterministic: time moves by Tick alone. Table tests drive it by hand, the simulation by
// dice.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "operator/observed.h"
#include "operator/plan.h"

namespace slmmesh {

struct WorldPod {
  ObservedPod seen;  // as the API server shows it
  std::string image;
  uint32_t size = 1;  // tensor-parallel degree that it was started with
  absl::Time ends = absl::InfiniteFuture();
  bool is_stuck = false;  // never starts
};

struct WorldGroup {
  std::string worker_group, hash;
  uint64_t epoch = 1;
  std::vector<std::string> seats;  // "" where vacant
  absl::Time ready_at;
  uint32_t requests = 0;
  absl::Time lost_at = absl::InfinitePast();    // when it stopped serving
  absl::Time listed_at = absl::InfinitePast();  // when a router listed it last
};

class World {
 public:
  explicit World(const nlohmann::json& spec);

  // What the user does.
  void SetSpec(const nlohmann::json& spec);
  void Annotate(const std::string& name, const std::string& value);

  // What befalls the cluster.
  void KillPod(const std::string& name);   // gone at once
  void EvictPod(const std::string& name);  // deleted with its grace
  void FailPod(const std::string& name, const std::string& trouble);
  void RestartHead();

  void Tick(absl::Duration time);  // kubelets, workers, head and routers do what is due

  // The operator.
  Observed Observe() const;
  void ObserveRest(Observed* observed) const;  // but cluster, pods and table
  ClusterPlan Plan(const Observed& observed) const;
  bool Act(const ObservedCluster& cluster, const Step& step);  // false: refused
  void WriteStatus(const v1::InferenceClusterStatus& status) { cluster.status = status; }
  // Observes, plans, acts and writes until nothing is left to do right now; the steps that were taken.
  std::vector<std::string> Reconcile();
  // Reconciles and ticks until nothing happens for a while. Fails after `limit` rounds.
  std::vector<std::string> Settle(int limit = 400);

  // What is really so.
  std::set<std::string> ServingGroups() const;  // a router sends there and every rank serves
  // Of them, those that stay, and have served for so long at least.
  uint32_t CountServing(const std::string& worker_group, absl::Duration for_so_long = absl::ZeroDuration()) const;
  std::vector<std::string> PodNames(PodRole role) const;    // present ones
  const WorldGroup* GroupOf(const std::string& pod) const;  // null: it has no seat
  std::shared_ptr<const v1::ClusterTable> Table() const;    // null: the head is away

  absl::Time now = absl::FromUnixSeconds(1'800'000'000);
  OperatorSettings settings;
  ObservedCluster cluster;
  std::map<std::string, WorldPod> pods;
  std::map<std::string, nlohmann::json> services, disruption_budgets;
  std::map<std::string, absl::Time> certificates;
  bool has_secret = false, ca_is_current = true;
  std::map<std::string, WorldGroup> groups;
  std::set<std::string> draining;          // as the head knows it
  std::map<std::string, uint32_t> queued;  // requests, by router
  absl::Duration start_time = absl::Seconds(2), load_time = absl::Seconds(5), answer_time = absl::Seconds(10);
  absl::Duration grace = absl::Seconds(4);
  std::function<bool(const WorldPod&)> never_starts;  // of new pods
  uint32_t busy_requests = 0;                         // that each serving group has

 private:
  void StartPods();
  void EndPods();
  void RunHead();
  void RunRouters();
  void Vacate();
  void Seat();
  bool Seat(const std::string& group_id, WorldGroup& group);
  bool IsLoaded(const std::string& name) const;
  bool GroupServes(const WorldGroup& group) const;
  bool IsDraining(const WorldGroup& group) const;
  const WorldPod* Head() const;  // null: none runs
  std::vector<std::string> IdleLike(const std::string& worker_group, const std::string& hash) const;
  void Create(const Step& step);
  void Delete(const std::string& name);

  uint64_t next_uid_ = 1, next_group_ = 0, next_epoch_ = 1;
  std::string head_uid_;                                             // of the head that runs
  absl::Time head_knows_at_ = absl::InfinitePast();                  // after its start it learns from those who dial in
  std::map<std::string, std::map<std::string, uint64_t>> routable_;  // by router: group → epoch
};

}  // namespace slmmesh
