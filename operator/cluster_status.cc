#include "operator/cluster_status.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "operator/conditions.h"
#include "operator/names.h"

namespace slmmesh {
namespace {

struct Totals {
  uint32_t wanted = 0;
  uint32_t routable = 0;
  uint32_t updated = 0;
  bool floors_hold = true;
  bool has_old = false;     // units that are not of the wanted revision
  bool is_complete = true;  // of all kinds
  bool has_worker_pods = false;
};

Totals TotalsOf(const ClusterKinds& kinds) {
  Totals totals;
  for (const PodKind* kind : kinds.All()) {
    totals.is_complete = totals.is_complete && IsComplete(*kind);
    for (const Unit& unit : kind->units) totals.has_old = totals.has_old || !unit.is_wanted;
    if (kind->role != PodRole::kWorker) continue;
    const uint32_t routable = CountServing(*kind, /*of_wanted_only=*/false);
    totals.wanted += kind->rules.wanted;
    totals.routable += routable;
    totals.updated += CountServing(*kind, /*of_wanted_only=*/true);
    totals.has_worker_pods = totals.has_worker_pods || !kind->pods.empty();
    const uint32_t least = std::max(FloorOf(kind->rules), std::min(kind->rules.wanted, 1u));
    totals.floors_hold = totals.floors_hold && routable >= least;
  }
  return totals;
}

double Rounded(double value, double unit) { return std::round(value / unit) * unit; }

double TwoDigits(double value) {
  if (value <= 0) return 0;
  return Rounded(value, std::pow(10, std::floor(std::log10(value)) - 1));
}

class StatusBuilder {
 public:
  explicit StatusBuilder(const StatusInput& input)
      : input_(input),
        before_(input.observed.cluster.status),
        cluster_(input.observed.cluster),
        totals_(TotalsOf(input.kinds)),
        trouble_(TroubleOf(input.observed)) {}

  v1::InferenceClusterStatus Build() {
    status_.set_observed_generation(cluster_.generation);
    status_.set_operator_version(input_.settings.version);
    status_.set_rollout_progressed_at(input_.rollout_progressed_at);
    for (const v1::Revision& revision : input_.revision.history) *status_.add_history() = revision;
    if (totals_.updated > 0) status_.mutable_history()->rbegin()->set_served(true);
    status_.set_revision(input_.revision.history.back().number());
    for (const v1::Draining& draining : input_.drain.draining) *status_.add_draining() = draining;
    AddWorkerGroups();
    AddServing();
    AddCertificates();
    AddConditions();
    status_.set_state(State());
    status_.set_message(Message());
    return std::move(status_);
  }

 private:
  void AddWorkerGroups() {
    for (size_t i = 0; i < input_.kinds.groups_in_spec; ++i) {
      const PodKind& kind = input_.kinds.workers[i];
      v1::WorkerGroupStatus& group = *status_.add_worker_groups();
      group.set_group_name(kind.worker_group);
      group.set_wanted_groups(kind.rules.wanted);
      group.set_routable_groups(CountServing(kind, /*of_wanted_only=*/false));
      group.set_updated_groups(CountServing(kind, /*of_wanted_only=*/true));
      uint32_t ready = 0, pods = 0, staying = 0;
      for (size_t u = 0; u < kind.units.size(); ++u) {
        const Unit& unit = kind.units[u];
        pods += static_cast<uint32_t>(unit.pods.size());
        if (unit.group != nullptr && unit.group->state() == v1::GROUP_STATE_READY) ++ready;
        if (!kind.decision.leaves[u]) ++staying;
      }
      group.set_ready_groups(ready);
      group.set_pods(pods);
      const ScaleDecision& scale = input_.kinds.scales[i];
      group.set_above_since(scale.above_since);
      group.set_below_since(scale.below_since);
      group.set_idle_since(scale.idle_since);
      AddLoad(kind, &group);
      status_.set_tokens_per_second(status_.tokens_per_second() + group.tokens_per_second());
      if (i == 0) {
        status_.set_groups(staying);
        status_.set_selector(
            absl::StrCat(kClusterLabel, "=", cluster_.name, ",", kWorkerGroupLabel, "=", kind.worker_group));
      }
    }
    status_.set_groups_summary(absl::StrCat(totals_.routable, "/", totals_.wanted));
  }

  // Rounded: enough to see, too little to change all the time.
  static void AddLoad(const PodKind& kind, v1::WorkerGroupStatus* group) {
    std::vector<v1::LoadReport> loads;
    for (const Unit& unit : kind.units) {
      if (unit.group != nullptr && unit.group->state() == v1::GROUP_STATE_READY) loads.push_back(unit.group->load());
    }
    const LoadSum sum = SumOf(loads);
    group->set_running_requests(sum.running);
    group->set_waiting_requests(sum.waiting);
    group->set_kv_utilization(Rounded(sum.kv_utilization, 0.01));
    group->set_tokens_per_second(TwoDigits(sum.tokens_per_second));
  }

  void AddServing() {
    const bool serves_new = totals_.updated > 0;
    status_.set_model(serves_new ? input_.spec.model().served_name() : before_.model());
    const bool is_tls = input_.spec.router_spec().has_tls_cert_file();
    const uint32_t port = input_.spec.router_spec().service().port();
    status_.set_endpoint(absl::StrCat(is_tls ? "https://" : "http://", RouterServiceName(cluster_), ".", cluster_.ns,
                                      ".svc:", port == 0 ? kRouterHttpPort : port));
  }

  void AddCertificates() {
    absl::Time earliest = absl::InfiniteFuture();
    for (const auto& [pod, not_after] : input_.observed.certificates.not_after) {
      const auto& pods = input_.observed.pods;
      const bool is_used = std::any_of(pods.begin(), pods.end(), [&name = pod](const ObservedPod& other) {
        return other.name == name && IsPresent(other);
      });
      if (is_used) earliest = std::min(earliest, not_after);
    }
    if (earliest != absl::InfiniteFuture()) status_.set_certificates_not_after(TimeText(earliest));
  }

  bool RouterServes() const { return CountServing(input_.kinds.router, /*of_wanted_only=*/false) > 0; }
  bool EverServed() const { return !status_.model().empty(); }
  std::string GroupsInWords() const { return absl::StrCat(totals_.routable, " of ", totals_.wanted, " groups serve"); }

  ConditionValue Ready() const {
    if (!RouterServes()) return {"False", "NoRouter", "no router is ready"};
    if (totals_.wanted == 0) return {"True", "ScaledToZero", "a request brings a group up"};
    if (!totals_.floors_hold) return {"False", "GroupsMissing", GroupsInWords()};
    return {"True", "Serving", GroupsInWords()};
  }

  ConditionValue Progressing() const {
    if (input_.is_paused) return {"Unknown", "Paused", absl::StrCat("the annotation ", kPausedAnnotation, " is true")};
    if (input_.is_frozen && !totals_.is_complete) {
      return {"False", "ProgressDeadlineExceeded",
              absl::StrCat("no progress for longer than progressDeadlineSeconds, what serves is kept",
                           trouble_.empty() ? "" : ": ", trouble_)};
    }
    if (totals_.is_complete) return {"True", "Complete", absl::StrCat("revision ", status_.revision(), " serves")};
    if (totals_.has_old || FindCondition(before_, "Progressing").reason() == "RollingOut") {
      return {"True", "RollingOut",
              absl::StrCat(totals_.updated, " of ", totals_.wanted, " groups are of revision ", status_.revision())};
    }
    return {"True", EverServed() ? "Adjusting" : "Creating", GroupsInWords()};
  }

  bool HeadServes() const { return CountServing(input_.kinds.head, /*of_wanted_only=*/false) > 0; }

  ConditionValue Degraded() const {
    if (!trouble_.empty()) return {"True", "PodTrouble", trouble_};
    if (EverServed() && !totals_.floors_hold) return {"True", "GroupsMissing", GroupsInWords()};
    if (EverServed() && !RouterServes()) return {"True", "NoRouter", "no router is ready"};
    if (EverServed() && !HeadServes()) return {"True", "NoHead", "the head is not ready; what serves goes on"};
    return {"False", "AsExpected", ""};
  }

  ConditionValue ModelLoaded() const {
    if (totals_.updated > 0) return {"True", "Loaded", status_.model()};
    if (totals_.wanted == 0) return {"False", "ScaledToZero", "no group is wanted"};
    return {"False", "Loading", absl::StrCat("no group of revision ", status_.revision(), " serves yet")};
  }

  // Its reason remembers, until the number is reached, that it was changed.
  ConditionValue Scaling() const {
    uint32_t now = 0, before = 0;
    for (const v1::WorkerGroupStatus& group : status_.worker_groups()) now += group.wanted_groups();
    for (const v1::WorkerGroupStatus& group : before_.worker_groups()) before += group.wanted_groups();
    const std::string& last = FindCondition(before_, "Scaling").reason();
    const std::string limits = absl::StrJoin(NotEmpty(input_.kinds.scale_limits), "; ");
    const bool was_scaling = last == "ScalingUp" || last == "ScalingDown";
    if (before_.worker_groups_size() > 0 && now != before && EverServed()) {
      return {"True", now > before ? "ScalingUp" : "ScalingDown", absl::StrCat("to ", now, " groups")};
    }
    if (was_scaling && !totals_.is_complete && !totals_.has_old) {
      return {"True", last, absl::StrCat("to ", now, " groups")};
    }
    if (!limits.empty()) return {"False", "Limited", limits};
    return {"False", input_.kinds.is_autoscaled ? "Autoscaled" : "Fixed", absl::StrCat(now, " groups are wanted")};
  }

  static std::vector<std::string> NotEmpty(std::vector<std::string> texts) {
    texts.erase(std::remove(texts.begin(), texts.end(), ""), texts.end());
    return texts;
  }

  void AddConditions() {
    *status_.mutable_conditions() = before_.conditions();
    const auto set = [this](const char* type, const ConditionValue& value) {
      SetCondition(type, value, cluster_.generation, input_.now, &status_);
    };
    set("Ready", Ready());
    set("Progressing", Progressing());
    set("Degraded", Degraded());
    set("ModelLoaded", ModelLoaded());
    set("Scaling", Scaling());
  }

  std::string State() const {
    if (!cluster_.spec_status.ok()) return "Invalid";
    if (totals_.wanted == 0 && !totals_.has_worker_pods) return "ScaledToZero";
    const bool is_stuck = input_.is_frozen && !totals_.is_complete;
    if (totals_.has_old && !is_stuck) return "Updating";
    if (totals_.is_complete && RouterServes()) return "Ready";
    if (!EverServed()) return "Creating";
    const std::string& scaling = FindCondition(status_, "Scaling").reason();
    const bool is_scaling = scaling == "ScalingUp" || scaling == "ScalingDown";
    return is_scaling && trouble_.empty() && !is_stuck ? "Scaling" : "Degraded";
  }

  std::string Message() const {
    std::vector<std::string> parts = input_.notes;
    const v1::Condition& progressing = FindCondition(status_, "Progressing");
    if (progressing.status() != "True" || progressing.reason() == "RollingOut") parts.push_back(progressing.message());
    const bool is_told = progressing.reason() == "ProgressDeadlineExceeded";
    if (!trouble_.empty() && !is_told) parts.push_back(trouble_);
    if (parts.empty() && !totals_.is_complete) parts.push_back(FindCondition(status_, "Ready").message());
    return absl::StrJoin(parts, "; ");
  }

  const StatusInput& input_;
  const v1::InferenceClusterStatus& before_;
  const ObservedCluster& cluster_;
  const Totals totals_;
  const std::string trouble_;
  v1::InferenceClusterStatus status_;
};

}  // namespace

std::vector<const PodKind*> ClusterKinds::All() const {
  std::vector<const PodKind*> all = {&head, &router};
  for (const PodKind& kind : workers) all.push_back(&kind);
  return all;
}

bool IsComplete(const PodKind& kind) {
  const auto is_good = [](const Unit& unit) { return unit.is_wanted && unit.is_routable && !unit.is_draining; };
  return kind.units.size() == kind.rules.wanted && std::all_of(kind.units.begin(), kind.units.end(), is_good);
}

uint32_t CountServing(const PodKind& kind, bool of_wanted_only) {
  return static_cast<uint32_t>(std::count_if(kind.units.begin(), kind.units.end(), [&](const Unit& unit) {
    return unit.is_routable && !unit.is_draining && (unit.is_wanted || !of_wanted_only);
  }));
}

std::string TroubleOf(const Observed& observed) {
  std::vector<std::string> troubles;
  for (const ObservedPod& pod : observed.pods) {
    if (!pod.trouble.empty() && !pod.terminating) troubles.push_back(absl::StrCat(pod.name, ": ", pod.trouble));
  }
  if (observed.table != nullptr) {
    for (const v1::Member& member : observed.table->members()) {
      const v1::WorkerStatus& status = member.status();
      if (status.phase() != v1::WORKER_PHASE_FAILED || status.message().empty()) continue;
      troubles.push_back(absl::StrCat(member.offer().worker_id(), ": ", status.message()));
    }
  }
  constexpr size_t kShown = 3;
  const size_t more = troubles.size() > kShown ? troubles.size() - kShown : 0;
  if (more > 0) troubles.resize(kShown);
  std::string text = absl::StrJoin(troubles, "; ");
  if (more > 0) absl::StrAppend(&text, "; and ", more, " more");
  return text;
}

v1::InferenceClusterStatus BuildStatus(const StatusInput& input) { return StatusBuilder(input).Build(); }

v1::InferenceClusterStatus InvalidStatus(const Observed& observed, const OperatorSettings& settings, absl::Time now) {
  v1::InferenceClusterStatus status = observed.cluster.status;
  const std::string why(observed.cluster.spec_status.message());
  const uint32_t generation = observed.cluster.generation;
  status.set_observed_generation(generation);
  status.set_operator_version(settings.version);
  status.set_state("Invalid");
  status.set_message(why);
  SetCondition("Ready", {"False", "InvalidSpec", why}, generation, now, &status);
  SetCondition("Progressing", {"False", "InvalidSpec", why}, generation, now, &status);
  return status;
}

}  // namespace slmmesh
