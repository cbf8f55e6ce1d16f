#include "operator/testing/world.h"

#include <google/protobuf/util/json_util.h>
#include <google/protobuf/util/message_differencer.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "operator/names.h"
#include "operator/objects.h"
#include "operator/pods.h"
#include "operator/unit.h"
#include "proto/manifest.h"

namespace slmmesh {
namespace {

using google::protobuf::util::MessageDifferencer;
using nlohmann::json;

constexpr absl::Duration kHeadListens = absl::Seconds(2);
constexpr absl::Duration kEpochBegins = absl::Seconds(1);

uint32_t Number(const json& text) {
  uint32_t number = 0;
  if (!absl::SimpleAtoi(text.get<std::string>(), &number)) std::abort();
  return number;
}

PodRole RoleFromLabel(const std::string& label) {
  return label == "head" ? PodRole::kHead : label == "router" ? PodRole::kRouter : PodRole::kWorker;
}

bool Runs(const ObservedPod& pod) { return pod.phase == PodPhase::kRunning; }

}  // namespace

World::World(const json& spec) {
  settings.version = "1.0";
  settings.head_image = "head:1";
  settings.router_image = "router:1";
  settings.worker_image = "worker:1";
  cluster.ns = "team";
  cluster.name = "demo";
  cluster.uid = "uid-demo";
  cluster.created = now;
  SetSpec(spec);
}

void World::SetSpec(const json& spec) {
  const json manifest = {{"apiVersion", "slmmesh.io/v1alpha1"},
                         {"kind", "InferenceCluster"},
                         {"metadata", {{"name", cluster.name}, {"namespace", cluster.ns}}},
                         {"spec", spec}};
  const auto parsed = ParseManifest(manifest.dump(), "manifest");
  cluster.spec_status = parsed.status();
  if (parsed.ok()) cluster.spec = parsed->spec();
  cluster.raw_spec.Clear();
  if (!google::protobuf::util::JsonStringToMessage(spec.dump(), &cluster.raw_spec).ok()) std::abort();
  ++cluster.generation;
}

void World::Annotate(const std::string& name, const std::string& value) {
  cluster.annotations.clear();
  if (!value.empty()) cluster.annotations.emplace_back(name, value);
}

void World::KillPod(const std::string& name) { pods.erase(name); }

void World::Delete(const std::string& name) {
  WorldPod& pod = pods.at(name);
  if (pod.seen.terminating) return;
  pod.seen.terminating = true;
  pod.ends = Runs(pod.seen) ? now + grace : now;
}

void World::EvictPod(const std::string& name) { Delete(name); }

void World::FailPod(const std::string& name, const std::string& trouble) {
  ObservedPod& pod = pods.at(name).seen;
  pod.phase = PodPhase::kFailed;
  pod.trouble = trouble;
  pod.ready = false;
}

void World::RestartHead() { head_uid_.clear(); }

void World::Tick(absl::Duration time) {
  now += time;
  StartPods();
  EndPods();
  RunHead();
  RunRouters();
  for (auto& [name, pod] : pods) {
    const bool runs = Runs(pod.seen);
    if (pod.seen.role == PodRole::kHead) pod.seen.ready = runs && !pod.seen.terminating && head_knows_at_ <= now;
    if (pod.seen.role == PodRole::kRouter) {
      pod.seen.ready = runs && !pod.seen.terminating && (!routable_[name].empty() || MayScaleToZero(cluster.spec));
    }
    if (pod.seen.role != PodRole::kWorker) continue;
    pod.seen.ready = runs && std::any_of(groups.begin(), groups.end(), [&, &name = name](const auto& entry) {
                       const auto& seats = entry.second.seats;
                       return std::find(seats.begin(), seats.end(), name) != seats.end() && GroupServes(entry.second);
                     });
  }
}

void World::StartPods() {
  for (auto& [name, pod] : pods) {
    if (pod.seen.phase != PodPhase::kPending || pod.is_stuck || pod.seen.terminating) continue;
    if (now - pod.seen.created < start_time) continue;
    pod.seen.scheduled = true;
    pod.seen.node = "node-1";
    pod.seen.phase = PodPhase::kRunning;
  }
}

void World::EndPods() {
  for (auto pod = pods.begin(); pod != pods.end();) pod = pod->second.ends <= now ? pods.erase(pod) : std::next(pod);
}

const WorldPod* World::Head() const {
  for (const auto& [name, pod] : pods) {
    if (pod.seen.role == PodRole::kHead && Runs(pod.seen) && !pod.seen.terminating) return &pod;
  }
  return nullptr;
}

bool World::IsLoaded(const std::string& name) const {
  const auto pod = pods.find(name);
  return pod != pods.end() && Runs(pod->second.seen) && now - pod->second.seen.created >= start_time + load_time;
}

bool World::GroupServes(const WorldGroup& group) const {
  return group.ready_at <= now && std::all_of(group.seats.begin(), group.seats.end(),
                                              [this](const std::string& seat) { return IsLoaded(seat); });
}

bool World::IsDraining(const WorldGroup& group) const {
  return std::any_of(group.seats.begin(), group.seats.end(),
                     [this](const std::string& seat) { return draining.count(seat) > 0; });
}

// Workers see at once that a rank is gone, with or without a head.
void World::Vacate() {
  for (auto group = groups.begin(); group != groups.end();) {
    bool has_any = false;
    for (std::string& seat : group->second.seats) {
      if (!seat.empty() && !IsLoaded(seat)) {
        seat.clear();
        group->second.lost_at = now;
        group->second.ready_at = absl::InfiniteFuture();
      }
      has_any = has_any || !seat.empty();
    }
    group = has_any ? std::next(group) : groups.erase(group);
  }
}

std::vector<std::string> World::IdleLike(const std::string& worker_group, const std::string& hash) const {
  std::vector<std::string> idle;
  for (const auto& [name, pod] : pods) {
    if (pod.seen.role != PodRole::kWorker || pod.seen.worker_group != worker_group || pod.seen.hash != hash) continue;
    if (!IsLoaded(name) || pod.seen.terminating || draining.count(name) > 0) continue;
    const bool is_seated = std::any_of(groups.begin(), groups.end(), [&name = name](const auto& entry) {
      return std::find(entry.second.seats.begin(), entry.second.seats.end(), name) != entry.second.seats.end();
    });
    if (!is_seated) idle.push_back(name);
  }
  return idle;
}

bool World::Seat(const std::string& group_id, WorldGroup& group) {
  const std::vector<std::string> idle = IdleLike(group.worker_group, group.hash);
  const auto vacant = static_cast<size_t>(std::count(group.seats.begin(), group.seats.end(), ""));
  if (vacant == 0 || idle.size() < vacant) return false;
  size_t next = 0;
  for (std::string& seat : group.seats) {
    if (seat.empty()) seat = idle[next++];
  }
  group.epoch = next_epoch_++;
  group.ready_at = now + kEpochBegins;
  groups[group_id] = group;
  return true;
}

void World::Seat() {
  for (auto& [id, group] : groups) Seat(id, group);
  std::set<std::pair<std::string, std::string>> pools;
  for (const auto& [name, pod] : pods) {
    if (pod.seen.role == PodRole::kWorker) pools.emplace(pod.seen.worker_group, pod.seen.hash);
  }
  for (const auto& [worker_group, hash] : pools) {
    while (true) {  // ends: each group takes idle ones
      const std::vector<std::string> idle = IdleLike(worker_group, hash);
      if (idle.empty()) break;
      WorldGroup group;
      group.worker_group = worker_group;
      group.hash = hash;
      group.seats.resize(pods.at(idle.front()).size);
      if (!Seat(absl::StrCat(worker_group, "-", next_group_++), group)) break;
    }
  }
}

void World::RunHead() {
  Vacate();
  const WorldPod* head = Head();
  if (head == nullptr) {
    head_uid_.clear();
    return;
  }
  if (head->seen.uid != head_uid_) {
    head_uid_ = head->seen.uid;
    head_knows_at_ = now + kHeadListens;
    draining.clear();
  }
  if (head_knows_at_ <= now) Seat();
}

void World::RunRouters() {
  const bool has_table = Head() != nullptr && head_knows_at_ <= now;
  for (const auto& [name, pod] : pods) {
    if (pod.seen.role != PodRole::kRouter || !Runs(pod.seen)) continue;
    auto& routable = routable_[name];
    for (auto entry = routable.begin(); entry != routable.end();) {
      const auto group = groups.find(entry->first);
      const bool goes_on = group != groups.end() && group->second.epoch == entry->second &&
                           GroupServes(group->second) && !(has_table && IsDraining(group->second));
      entry = goes_on ? std::next(entry) : routable.erase(entry);
    }
    if (!has_table) continue;
    for (const auto& [id, group] : groups) {
      if (GroupServes(group) && !IsDraining(group)) routable[id] = group.epoch;
    }
  }
  for (auto entry = routable_.begin(); entry != routable_.end();) {
    const auto pod = pods.find(entry->first);
    entry = pod != pods.end() && Runs(pod->second.seen) ? std::next(entry) : routable_.erase(entry);
  }
  for (auto& [id, group] : groups) {
    const bool is_listed = std::any_of(routable_.begin(), routable_.end(),
                                       [&id = id](const auto& router) { return router.second.count(id) > 0; });
    if (is_listed) group.listed_at = now;
    const bool is_done = !GroupServes(group) || (!is_listed && now - group.listed_at >= answer_time);
    group.requests = is_listed ? busy_requests : is_done ? 0 : group.requests;
  }
}

std::set<std::string> World::ServingGroups() const {
  std::set<std::string> serving;
  for (const auto& [router, routable] : routable_) {
    for (const auto& [id, epoch] : routable) {
      const auto group = groups.find(id);
      if (group != groups.end() && group->second.epoch == epoch && GroupServes(group->second)) serving.insert(id);
    }
  }
  return serving;
}

uint32_t World::CountServing(const std::string& worker_group, absl::Duration for_so_long) const {
  uint32_t count = 0;
  for (const auto& [id, group] : groups) {
    const bool stays = std::all_of(group.seats.begin(), group.seats.end(), [this](const std::string& seat) {
      const auto pod = pods.find(seat);
      return pod != pods.end() && IsPresent(pod->second.seen);
    });
    const bool serves = GroupServes(group) && group.ready_at + for_so_long <= now;
    if (group.worker_group == worker_group && stays && serves && !IsDraining(group)) ++count;
  }
  return count;
}

const WorldGroup* World::GroupOf(const std::string& pod) const {
  for (const auto& [id, group] : groups) {
    if (std::find(group.seats.begin(), group.seats.end(), pod) != group.seats.end()) return &group;
  }
  return nullptr;
}

std::vector<std::string> World::PodNames(PodRole role) const {
  std::vector<std::string> names;
  for (const auto& [name, pod] : pods) {
    if (pod.seen.role == role && IsPresent(pod.seen)) names.push_back(name);
  }
  return names;
}

std::shared_ptr<const v1::ClusterTable> World::Table() const {
  if (Head() == nullptr || head_uid_.empty()) return nullptr;
  auto table = std::make_shared<v1::ClusterTable>();
  table->set_head_id(head_uid_);
  for (const auto& [name, pod] : pods) {
    if (pod.seen.role != PodRole::kWorker || !Runs(pod.seen)) continue;
    v1::Member& member = *table->add_members();
    member.mutable_offer()->set_worker_id(name);
    member.mutable_status()->set_phase(pod.seen.ready ? v1::WORKER_PHASE_SERVING : v1::WORKER_PHASE_LOADING);
  }
  for (const auto& [name, routable] : routable_) {
    v1::RouterReport& router = *table->add_routers();
    router.set_router_id(name);
    const auto waiting = queued.find(name);
    if (waiting != queued.end()) router.set_queued_requests(waiting->second);
    for (const auto& [id, epoch] : routable) {
      v1::GroupSeat& seat = *router.add_routable();
      seat.set_group_id(id);
      seat.set_epoch(epoch);
    }
  }
  if (head_knows_at_ > now) return table;
  for (const auto& [id, known] : groups) {
    v1::Group& group = *table->add_groups();
    group.set_group_id(id);
    group.set_epoch(known.epoch);
    group.set_worker_group(known.worker_group);
    group.set_size(static_cast<uint32_t>(known.seats.size()));
    group.set_state(GroupServes(known) ? v1::GROUP_STATE_READY : v1::GROUP_STATE_FORMING);
    group.set_draining(IsDraining(known));
    group.set_revision(known.hash);
    for (const std::string& seat : known.seats) group.add_worker_ids(seat);
    v1::LoadReport& load = *group.mutable_load();
    load.set_running(known.requests);
    load.set_max_running(64);
    load.set_kv_blocks_total(100);
    load.set_prefill_tokens_per_second(1000);
  }
  return table;
}

Observed World::Observe() const {
  Observed observed;
  observed.cluster = cluster;
  for (const auto& [name, pod] : pods) observed.pods.push_back(pod.seen);
  observed.table = Table();
  ObserveRest(&observed);
  return observed;
}

void World::ObserveRest(Observed* observed) const {
  for (const auto& [name, object] : services) observed->services.push_back({name, OwnedHash(object), "uid-" + name});
  for (const auto& [name, object] : disruption_budgets) {
    observed->disruption_budgets.push_back({name, OwnedHash(object), "uid-" + name});
  }
  observed->certificates.exists = has_secret;
  observed->certificates.ca_is_current = ca_is_current;
  observed->certificates.not_after.assign(certificates.begin(), certificates.end());
}

ClusterPlan World::Plan(const Observed& observed) const { return PlanCluster(observed, settings, now); }

void World::Create(const Step& step) {
  if (pods.count(step.name) > 0) return;
  const json& labels = step.object["metadata"]["labels"];
  WorldPod pod;
  pod.seen.name = step.name;
  pod.seen.uid = absl::StrCat("uid-", next_uid_++);
  pod.seen.role = RoleFromLabel(labels[kRoleLabel]);
  pod.seen.worker_group = labels.value(kWorkerGroupLabel, "");
  pod.seen.revision = Number(labels[kRevisionLabel]);
  pod.seen.hash = labels[kHashLabel];
  pod.seen.slot = Number(labels[kSlotLabel]);
  pod.seen.created = now;
  const json& container = step.object["spec"]["containers"][0];
  pod.image = container["image"];
  for (const json& arg : container["args"]) {
    const std::string text = arg;
    if (absl::StartsWith(text, "--tensor-parallel-size=")) pod.size = Number(text.substr(text.find('=') + 1));
  }
  pod.is_stuck = never_starts && never_starts(pod);
  if (certificates.count(step.name) == 0) {
    std::cerr << "pod without a certificate: " << step.name << "\n";
    std::abort();
  }
  pods.emplace(step.name, std::move(pod));
}

bool World::Act(const ObservedCluster& seen_cluster, const Step& step) {
  switch (step.kind) {
    case StepKind::kIssueCertificates: {
      std::map<std::string, absl::Time> issued;
      for (const std::string& name : step.names) {
        const auto found = certificates.find(name);
        const bool is_good =
            ca_is_current && found != certificates.end() && !RenewalIsDue(found->second, settings, now);
        issued[name] = is_good ? found->second : now + settings.certificate_lifetime;
      }
      certificates = std::move(issued);
      has_secret = ca_is_current = true;
      return true;
    }
    case StepKind::kApplyService:
      services[step.name] = step.object;
      return true;
    case StepKind::kApplyDisruptionBudget:
      disruption_budgets[step.name] = step.object;
      return true;
    case StepKind::kCreatePod:
      Create(step);
      return true;
    case StepKind::kDeletePod:
      if (pods.count(step.name) > 0 && pods.at(step.name).seen.uid == step.uid) Delete(step.name);
      return true;
    case StepKind::kDeleteDisruptionBudget:
      disruption_budgets.erase(step.name);
      return true;
    case StepKind::kSetDraining:
      if (Head() == nullptr || head_uid_.empty()) return false;
      draining = {step.names.begin(), step.names.end()};
      return true;
    case StepKind::kRollBack:
      if (seen_cluster.generation != cluster.generation) return false;
      SetSpec(step.object);
      Annotate(kRollbackAnnotation, "");
      return true;
    case StepKind::kEvent:
      return true;
  }
  return true;
}

std::vector<std::string> World::Reconcile() {
  std::vector<std::string> taken;
  for (int pass = 0; pass < 20; ++pass) {
    const Observed observed = Observe();
    const ClusterPlan plan = Plan(observed);
    const bool changes_status = !MessageDifferencer::Equals(plan.status, cluster.status);
    if (plan.steps.empty() && !changes_status) return taken;
    for (const Step& step : plan.steps) {
      taken.push_back(step.ToString());
      if (!Act(observed.cluster, step)) break;
    }
    if (changes_status) WriteStatus(plan.status);
  }
  taken.push_back("it never ends");
  return taken;
}

std::vector<std::string> World::Settle(int limit) {
  std::vector<std::string> taken;
  int quiet = 0;
  for (int round = 0; round < limit && quiet < 30; ++round) {
    const std::vector<std::string> steps = Reconcile();
    quiet = steps.empty() ? quiet + 1 : 0;
    taken.insert(taken.end(), steps.begin(), steps.end());
    Tick(absl::Seconds(1));
  }
  if (quiet < 30) taken.push_back("it never settles");
  return taken;
}

}  // namespace slmmesh
