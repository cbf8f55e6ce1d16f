#include "operator/plan.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "operator/autoscale.h"
#include "operator/cluster_status.h"
#include "operator/conditions.h"
#include "operator/drain.h"
#include "operator/json_message.h"
#include "operator/kinds.h"
#include "operator/names.h"
#include "operator/objects.h"
#include "operator/pod_plan.h"
#include "operator/pods.h"
#include "operator/revision.h"
#include "proto/program_knobs.h"

namespace slmmesh {
namespace {

using nlohmann::json;

constexpr uint32_t kProgressDeadlineSeconds = 600;
constexpr size_t kGroupsWithBudget = 2;

const char* NameOf(StepKind kind) {
  switch (kind) {
    case StepKind::kIssueCertificates:
      return "IssueCertificates";
    case StepKind::kApplyService:
      return "ApplyService";
    case StepKind::kApplyDisruptionBudget:
      return "ApplyDisruptionBudget";
    case StepKind::kCreatePod:
      return "CreatePod";
    case StepKind::kDeletePod:
      return "DeletePod";
    case StepKind::kDeleteDisruptionBudget:
      return "DeleteDisruptionBudget";
    case StepKind::kSetDraining:
      return "SetDraining";
    case StepKind::kRollBack:
      return "RollBack";
    case StepKind::kEvent:
      return "Event";
  }
  return "";
}

Step Named(StepKind kind, std::string name) {
  Step step{kind};
  step.name = std::move(name);
  return step;
}

Step OfObject(StepKind kind, json object) {
  Step step{kind};
  step.name = object["metadata"]["name"];
  step.object = std::move(object);
  return step;
}

std::string AnnotationOf(const ObservedCluster& cluster, const std::string& name) {
  for (const auto& [key, value] : cluster.annotations) {
    if (key == name) return value;
  }
  return "";
}

// One planning round, in the order of Run().
class Planner {
 public:
  Planner(const Observed& observed, const OperatorSettings& settings, absl::Time now)
      : observed_(observed),
        cluster_(observed.cluster),
        before_(observed.cluster.status),
        settings_(settings),
        now_(now),
        is_paused_(AnnotationOf(cluster_, kPausedAnnotation) == "true"),
        revision_(PlanRevision(observed, settings, now)) {}

  ClusterPlan Run() {
    if (!revision_.spec.ok()) return Invalid();
    spec_ = *revision_.spec;
    if (RollsBack()) return std::move(plan_);
    Decide();
    PlanPodsOfAllKinds();
    if (is_paused_) Pause();
    PlanCertificates();
    if (!is_paused_) PlanServices();
    AddPodSteps();
    if (!is_paused_) PlanDisruptionBudgets();
    if (drain_.must_tell) AddSetDraining();
    FinishStatus();
    AddEvents();
    return std::move(plan_);
  }

 private:
  ClusterPlan Invalid() {
    plan_.status = InvalidStatus(observed_, settings_, now_);
    if (before_.state() != "Invalid" || before_.message() != plan_.status.message()) {
      AddEvent(true, "InvalidSpec", plan_.status.message());
    }
    plan_.steps = std::move(events_);
    return std::move(plan_);
  }

  bool RollsBack() {
    const std::string wanted = AnnotationOf(cluster_, kRollbackAnnotation);
    if (wanted.empty()) return false;
    uint32_t number = 0;
    const bool is_number = absl::SimpleAtoi(wanted, &number);
    std::vector<std::string> known;
    for (const v1::Revision& revision : revision_.history) {
      if (is_number && revision.number() == number) {
        Step step = Named(StepKind::kRollBack, absl::StrCat(number));
        step.object = RolledBackSpec(revision, cluster_.raw_spec);
        plan_.steps.push_back(std::move(step));
        plan_.status = before_;
        return true;
      }
      known.push_back(absl::StrCat(revision.number()));
    }
    notes_.push_back(absl::StrCat(kRollbackAnnotation, " is \"", wanted,
                                  "\", which is not in the history; write one of ", absl::StrJoin(known, ", ")));
    AddEventOfNote("RollbackFailed", notes_.back());
    return false;
  }

  void Decide() {
    if (!cluster_.spec_status.ok()) {
      notes_.push_back(std::string(cluster_.spec_status.message()));
      AddEventOfNote("InvalidSpec", notes_.back());
    }
    kinds_ = SortIntoKinds({observed_, revision_, spec_, now_, is_paused_ || !cluster_.spec_status.ok()});
    const uint32_t deadline_seconds = spec_.rollout().has_progress_deadline_seconds()
                                          ? spec_.rollout().progress_deadline_seconds()
                                          : kProgressDeadlineSeconds;
    deadline_ = absl::Seconds(std::max(deadline_seconds, 1u));
    const absl::Time progressed_at = TimeFromText(before_.rollout_progressed_at(), now_);
    is_frozen_ = progressed_at != absl::InfinitePast() && now_ - progressed_at >= deadline_ && !HasGrown() &&
                 before_.draining().empty();
    DecideKinds(is_frozen_, &kinds_);
    NoteProgress(progressed_at);
  }

  // More serves than the status says, or something else is wanted now.
  bool HasGrown() const {
    if (revision_.history.back().number() != before_.revision()) return true;
    for (size_t i = 0; i < kinds_.groups_in_spec; ++i) {
      const PodKind& kind = kinds_.workers[i];
      for (const v1::WorkerGroupStatus& group : before_.worker_groups()) {
        if (group.group_name() != kind.worker_group) continue;
        if (CountServing(kind, false) > group.routable_groups() || CountServing(kind, true) > group.updated_groups() ||
            kind.rules.wanted != group.wanted_groups()) {
          return true;
        }
      }
    }
    return false;
  }

  void NoteProgress(absl::Time progressed_at) {
    const std::vector<const PodKind*> kinds = kinds_.All();
    if (std::all_of(kinds.begin(), kinds.end(), [](const PodKind* kind) { return IsComplete(*kind); })) return;
    const bool is_leaving = std::any_of(kinds.begin(), kinds.end(), [](const PodKind* kind) {
      return std::find(kind->decision.leaves.begin(), kind->decision.leaves.end(), true) != kind->decision.leaves.end();
    });
    const absl::Duration age = now_ - progressed_at;
    // Now and then is enough while something leaves: each new time is a write of the status.
    const bool is_new = HasGrown() || (is_leaving && age >= deadline_ / 4);
    rollout_progressed_at_ =
        is_new || progressed_at == absl::InfinitePast() ? TimeText(now_) : before_.rollout_progressed_at();
    if (!is_frozen_) LookAgainIn(is_new ? deadline_ : std::max(deadline_ - age, absl::Seconds(1)));
  }

  void PlanPodsOfAllKinds() {
    std::set<std::string> taken = ToldToDrain(observed_);
    std::map<std::string, uint32_t> numbers;
    for (const ObservedPod& pod : observed_.pods) {
      taken.insert(pod.name);
      numbers[pod.hash] = RevisionNumberOf(pod.hash, revision_.history, observed_.pods);
    }
    std::vector<const Unit*> leaving;
    for (const PodKind* kind : kinds_.All()) {
      for (const std::string& hash : {kind->wanted_hash, kind->rules.proven_hash}) {
        numbers[hash] = RevisionNumberOf(hash, revision_.history, observed_.pods);
      }
      PodChanges changes = PlanPods(cluster_, *kind, numbers, now_, &taken);
      LookAgainIn(changes.look_again_in);
      std::move(changes.created.begin(), changes.created.end(), std::back_inserter(created_));
      removed_.insert(removed_.end(), changes.removed.begin(), changes.removed.end());
      for (size_t i = 0; i < kind->units.size(); ++i) {
        if (!kind->decision.leaves[i]) continue;
        if (kind->role == PodRole::kWorker) {
          leaving.push_back(&kind->units[i]);
        } else {
          Remove(kind->units[i]);
        }
      }
    }
    drain_ = PlanDrain(observed_, leaving, absl::Seconds(DrainSeconds(spec_)), now_);
    LookAgainIn(drain_.look_again_in);
    for (size_t i = 0; i < leaving.size(); ++i) {
      if (drain_.is_drained[i]) Remove(*leaving[i]);
    }
  }

  void Remove(const Unit& unit) { removed_.insert(removed_.end(), unit.pods.begin(), unit.pods.end()); }

  // Certificates go on: without them, what serves would stop.
  void Pause() {
    notes_.push_back(absl::StrCat("paused by the annotation ", kPausedAnnotation));
    created_.clear();
    removed_.clear();
    drain_.draining.assign(before_.draining().begin(), before_.draining().end());
    drain_.must_tell = false;
  }

  // Certificates of names that are no longer in use go with the next step that has another reason: a pod that comes
  // back under its old name finds its own.
  void PlanCertificates() {
    const ObservedCertificates& certificates = observed_.certificates;
    const std::map<std::string, absl::Time> not_after(certificates.not_after.begin(), certificates.not_after.end());
    std::set<std::string> names;
    bool is_due = !certificates.exists || !certificates.ca_is_current;
    const auto need = [&](const std::string& name) {
      names.insert(name);
      const auto found = not_after.find(name);
      is_due = is_due || found == not_after.end() || RenewalIsDue(found->second, settings_, now_);
      if (found != not_after.end()) {
        LookAgainIn(std::max(found->second - settings_.certificate_lifetime / 3 - now_, absl::Seconds(1)));
      }
    };
    for (const ObservedPod& pod : observed_.pods) {
      if (IsPresent(pod)) need(pod.name);
      if (pod.terminating && not_after.count(pod.name) > 0) names.insert(pod.name);
    }
    for (const NewPod& pod : created_) need(pod.name);
    if (!is_due) return;
    Step step{StepKind::kIssueCertificates};
    step.names.assign(names.begin(), names.end());
    plan_.steps.push_back(std::move(step));
  }

  void PlanServices() {
    for (json& service : std::vector<json>{BuildHeadService(cluster_), BuildRouterService(cluster_, spec_)}) {
      PlanApply(StepKind::kApplyService, observed_.services, std::move(service));
    }
  }

  void PlanApply(StepKind kind, const std::vector<ObservedObject>& observed, json wanted) {
    Step step = OfObject(kind, std::move(wanted));
    const auto present = std::find_if(observed.begin(), observed.end(),
                                      [&step](const ObservedObject& object) { return object.name == step.name; });
    if (present != observed.end()) {
      if (present->hash == OwnedHash(step.object)) return;
      step.uid = present->uid;
    }
    plan_.steps.push_back(std::move(step));
  }

  void AddPodSteps() {
    for (const NewPod& pod : created_) {
      PodRequest request{pod.place, pod.name, pod.hash, spec_, "", settings_.image_pull_policy};
      const std::string role_key = RoleKey(pod.place.role, pod.place.worker_group);
      const v1::Revision* revision = FindRevision(role_key, pod.hash, revision_.history);
      if (revision == nullptr) continue;  // of a time that nobody remembers
      request.default_image = ImagesOf(*revision).Of(pod.place.role);
      if (revision != &revision_.history.back()) {
        const absl::StatusOr<v1::InferenceClusterSpec> spec = SpecOf(*revision, cluster_);
        if (!spec.ok()) continue;
        request.spec = *spec;
      }
      plan_.steps.push_back(OfObject(StepKind::kCreatePod, BuildPod(cluster_, request)));
    }
    for (const ObservedPod* pod : removed_) {
      Step step = Named(StepKind::kDeletePod, pod->name);
      step.uid = pod->uid;
      plan_.steps.push_back(std::move(step));
    }
  }

  void PlanDisruptionBudgets() {
    std::set<std::string> wanted;
    for (size_t i = 0; i < kinds_.groups_in_spec; ++i) {
      const PodKind& kind = kinds_.workers[i];
      if (kind.rules.wanted < kGroupsWithBudget) continue;
      json budget = BuildDisruptionBudget(cluster_, kind.worker_group, kind.rules.wanted * kind.size);
      wanted.insert(budget["metadata"]["name"]);
      PlanApply(StepKind::kApplyDisruptionBudget, observed_.disruption_budgets, std::move(budget));
    }
    for (const ObservedObject& budget : observed_.disruption_budgets) {
      if (wanted.count(budget.name) > 0) continue;
      Step step = Named(StepKind::kDeleteDisruptionBudget, budget.name);
      step.uid = budget.uid;
      plan_.steps.push_back(std::move(step));
    }
  }

  void AddSetDraining() {
    Step step{StepKind::kSetDraining};
    for (const v1::Draining& draining : drain_.draining) step.names.push_back(draining.pod());
    plan_.steps.push_back(std::move(step));
  }

  void FinishStatus() {
    plan_.status = BuildStatus({observed_, settings_, now_, revision_, spec_, kinds_, drain_, rollout_progressed_at_,
                                is_frozen_, is_paused_, notes_});
  }

  void AddEvents() {
    if (revision_.is_new && revision_.history.size() > 1) {
      AddEvent(false, "RolloutStarted", absl::StrCat("revision ", revision_.history.back().number(), " is wanted now"));
    }
    for (size_t i = 0; i < kinds_.scales.size(); ++i) {
      LookAgainIn(kinds_.scales[i].look_again_in);
      if (!kinds_.scales[i].reason.empty()) {
        AddEvent(false, "Scaled",
                 absl::StrCat("worker group ", kinds_.workers[i].worker_group, ": ", kinds_.scales[i].reason));
      }
    }
    for (const NewPod& pod : created_) {
      if (pod.replaces == nullptr) continue;
      AddEvent(true, "PodReplaced",
               absl::StrCat(pod.name, " takes the place of ", pod.replaces->name, ", which failed",
                            pod.replaces->trouble.empty() ? "" : ": ", pod.replaces->trouble));
    }
    AddEventsOfConditions();
    std::move(events_.begin(), events_.end(), std::back_inserter(plan_.steps));
  }

  void AddEventsOfConditions() {
    const v1::Condition& progress_before = FindCondition(before_, "Progressing");
    const v1::Condition& progress = FindCondition(plan_.status, "Progressing");
    if (progress.reason() == "ProgressDeadlineExceeded" && progress_before.reason() != progress.reason()) {
      AddEvent(true, "ProgressDeadlineExceeded", progress.message());
    }
    const bool was_rolling = progress_before.reason() == "RollingOut" || progress_before.status() == "False";
    if (progress.reason() == "Complete" && was_rolling) AddEvent(false, "RolloutComplete", progress.message());
    const v1::Condition& degraded = FindCondition(plan_.status, "Degraded");
    if (degraded.reason() == "PodTrouble" && degraded.message() != FindCondition(before_, "Degraded").message()) {
      AddEvent(true, "PodTrouble", degraded.message());
    }
  }

  void AddEvent(bool warning, const std::string& reason, const std::string& message) {
    Step step{StepKind::kEvent};
    step.warning = warning;
    step.reason = reason;
    step.message = message;
    events_.push_back(std::move(step));
  }

  // Once: the status carries the note from then on.
  void AddEventOfNote(const std::string& reason, const std::string& note) {
    if (!absl::StrContains(before_.message(), note)) AddEvent(true, reason, note);
  }

  void LookAgainIn(absl::Duration duration) { plan_.look_again_in = std::min(plan_.look_again_in, duration); }

  const Observed& observed_;
  const ObservedCluster& cluster_;
  const v1::InferenceClusterStatus& before_;
  const OperatorSettings& settings_;
  const absl::Time now_;
  const bool is_paused_;
  const WantedRevision revision_;
  v1::InferenceClusterSpec spec_;
  ClusterKinds kinds_;
  absl::Duration deadline_;
  bool is_frozen_ = false;
  std::string rollout_progressed_at_;
  std::vector<NewPod> created_;
  std::vector<const ObservedPod*> removed_;
  DrainPlan drain_;
  std::vector<std::string> notes_;
  std::vector<Step> events_;
  ClusterPlan plan_;
};

}  // namespace

std::string Step::ToString() const {
  std::string text = NameOf(kind);
  if (!name.empty()) absl::StrAppend(&text, " ", name);
  if (!names.empty()) absl::StrAppend(&text, " ", absl::StrJoin(names, " "));
  if (!reason.empty()) absl::StrAppend(&text, " ", reason);
  return text;
}

bool RenewalIsDue(absl::Time not_after, const OperatorSettings& settings, absl::Time now) {
  return not_after - now <= settings.certificate_lifetime / 3;
}

ClusterPlan PlanCluster(const Observed& observed, const OperatorSettings& settings, absl::Time now) {
  if (observed.cluster.deleting) {  // what it owns goes with it
    ClusterPlan nothing;
    nothing.status = observed.cluster.status;
    return nothing;
  }
  return Planner(observed, settings, now).Run();
}

}  // namespace slmmesh
