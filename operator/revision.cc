#include "operator/revision.h"

#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/status.h"
#include "operator/json_message.h"
#include "operator/names.h"
#include "operator/pods.h"
#include "operator/unit.h"
#include "proto/manifest.h"

namespace slmmesh {
namespace {

using nlohmann::json;

constexpr uint32_t kDefaultHistoryLimit = 10;

// The image is part of the template, or the default that the revision was made with.
json Material(const v1::InferenceClusterSpec& spec, PodRole role, const std::string& worker_group,
              const DefaultImages& images) {
  const json pod_template = TemplateOf(spec, role, worker_group);
  const bool has_image = !ContainerOf(pod_template, role).value("image", "").empty();
  return {{"template", pod_template}, {"image", has_image ? "" : images.Of(role)}};
}

json RouterMaterial(const v1::InferenceClusterSpec& spec, const DefaultImages& images) {
  v1::RouterSpec router = spec.router_spec();
  router.clear_replicas();
  router.clear_service();
  router.clear_template_();
  json material = Material(spec, PodRole::kRouter, "", images);
  material["router"] = ToJson(router);
  material["sampling"] = ToJson(spec.sampling_defaults());
  material["model"] = spec.model().served_name();
  material["mayScaleToZero"] = MayScaleToZero(spec);
  return material;
}

json WorkerMaterial(const v1::InferenceClusterSpec& spec, const v1::WorkerGroupSpec& group,
                    const DefaultImages& images) {
  json material = Material(spec, PodRole::kWorker, group.group_name(), images);
  material["model"] = ToJson(spec.model());
  material["speculative"] = ToJson(spec.speculative());
  material["engine"] = ToJson(spec.engine());
  material["size"] = spec.tensor_parallel_size();
  material["memory"] = spec.memory_utilization();
  material["group"] = group.group_name();
  material["accelerator"] = group.accelerator();
  return material;
}

// Pods in use keep the revision that they can be made again from; beyond those and the limit the oldest goes.
void Trim(uint32_t limit, const std::vector<ObservedPod>& pods, std::vector<v1::Revision>* history) {
  std::set<std::string> hashes_in_use;
  for (const ObservedPod& pod : pods) {
    if (IsPresent(pod)) hashes_in_use.insert(pod.hash);
  }
  const auto proven =
      std::find_if(history->rbegin(), history->rend(), [](const auto& other) { return other.served(); });
  const size_t proven_index = static_cast<size_t>(history->rend() - proven) - 1;  // past the end: none
  std::vector<v1::Revision> kept;
  size_t surplus = history->size() > limit ? history->size() - limit : 0;
  for (size_t i = 0; i < history->size(); ++i) {
    const RoleHashes hashes = ParseRoleHashes((*history)[i].hash());
    const bool is_in_use = std::any_of(hashes.begin(), hashes.end(), [&](const auto& hash) {
      const auto later = [&hash](const v1::Revision& other) {
        const RoleHashes others = ParseRoleHashes(other.hash());
        const auto found = others.find(hash.first);
        return found != others.end() && found->second == hash.second;
      };
      return hashes_in_use.count(hash.second) > 0 &&
             std::none_of(history->begin() + static_cast<ptrdiff_t>(i) + 1, history->end(), later);
    });
    if (surplus > 0 && !is_in_use && i != proven_index && i + 1 < history->size()) {
      --surplus;
    } else {
      kept.push_back((*history)[i]);
    }
  }
  *history = std::move(kept);
}

// Decides with one and the same code on both sides: what another version of the operator wrote as a hash, or would fill
// in as a default, makes no difference.
class RevisionPlanner {
 public:
  RevisionPlanner(const Observed& observed, const OperatorSettings& settings, absl::Time now)
      : observed_(observed), cluster_(observed.cluster), settings_(settings), now_(now) {
    for (const auto& revision : cluster_.status.history()) wanted_.history.push_back(revision);
  }

  WantedRevision Plan() {
    if (!cluster_.spec_status.ok()) {
      wanted_.spec = wanted_.history.empty() ? absl::StatusOr<v1::InferenceClusterSpec>(cluster_.spec_status)
                                             : SpecOf(wanted_.history.back(), cluster_);
      return std::move(wanted_);
    }
    wanted_.spec = cluster_.spec;
    if (!IsSameAsNewest()) AddRevision();
    const auto& rollout = cluster_.spec.rollout();
    const uint32_t limit = rollout.has_history_limit() ? rollout.history_limit() : kDefaultHistoryLimit;
    Trim(std::max(limit, 1u), observed_.pods, &wanted_.history);
    return std::move(wanted_);
  }

 private:
  bool IsSameAsNewest() {
    if (wanted_.history.empty()) return false;
    const v1::InferenceClusterStatus& status = cluster_.status;
    if (status.observed_generation() == cluster_.generation && status.state() != "Invalid") return true;
    return IsMadeFrom(wanted_.history.back());
  }

  // True where this spec would make the pods that `revision` made.
  bool IsMadeFrom(const v1::Revision& revision) {
    const RoleHashes& hashes = HashesOfKnown(revision);
    return !hashes.empty() && hashes == HashRoles(cluster_.spec, ImagesOf(revision));
  }

  // What this code would write as the revision's hashes; empty where it cannot read its spec.
  const RoleHashes& HashesOfKnown(const v1::Revision& revision) {
    const auto [known, is_new] = hashes_of_known_.try_emplace(revision.number());
    if (is_new) {
      const absl::StatusOr<v1::InferenceClusterSpec> spec = SpecOf(revision, cluster_);
      if (spec.ok()) known->second = HashRoles(*spec, ImagesOf(revision));
    }
    return known->second;
  }

  // The images of an equal earlier spec, so that an undo finds its pods again; else the operator's.
  DefaultImages ChooseImages() {
    for (auto revision = wanted_.history.rbegin(); revision != wanted_.history.rend(); ++revision) {
      if (IsMadeFrom(*revision)) return ImagesOf(*revision);
    }
    return {settings_.head_image, settings_.router_image, settings_.worker_image};
  }

  // A role that an earlier revision made in the same way keeps that revision's hash, whoever computed it.
  RoleHashes HashesOfNew(const DefaultImages& images) {
    RoleHashes hashes = HashRoles(cluster_.spec, images);
    for (const v1::Revision& revision : wanted_.history) {
      const RoleHashes kept = ParseRoleHashes(revision.hash());
      for (const auto& [role, hash] : HashesOfKnown(revision)) {
        const auto own = hashes.find(role);
        const auto old = kept.find(role);
        if (own != hashes.end() && old != kept.end() && own->second == hash) own->second = old->second;
      }
    }
    return hashes;
  }

  // After a lost status write, pods of the revision may be there already: it keeps its number.
  uint32_t NumberOfNew(const RoleHashes& hashes) const {
    const uint32_t last = wanted_.history.empty() ? 0 : wanted_.history.back().number();
    uint32_t highest = last;
    for (const ObservedPod& pod : observed_.pods) {
      const auto hash = hashes.find(RoleKey(pod.role, pod.worker_group));
      if (pod.revision > last && hash != hashes.end() && hash->second == pod.hash) return pod.revision;
      highest = std::max(highest, pod.revision);
    }
    return highest + 1;
  }

  void AddRevision() {
    const DefaultImages images = ChooseImages();
    const RoleHashes hashes = HashesOfNew(images);
    v1::Revision revision;
    revision.set_number(NumberOfNew(hashes));
    revision.set_hash(FormatRoleHashes(hashes));
    revision.set_created_at(absl::FormatTime(absl::RFC3339_sec, now_, absl::UTCTimeZone()));
    *revision.mutable_spec() = cluster_.raw_spec;
    revision.set_head_image(images.head);
    revision.set_router_image(images.router);
    revision.set_worker_image(images.worker);
    wanted_.history.push_back(std::move(revision));
    wanted_.is_new = true;
  }

  const Observed& observed_;
  const ObservedCluster& cluster_;
  const OperatorSettings& settings_;
  const absl::Time now_;
  std::map<uint32_t, RoleHashes> hashes_of_known_;  // by number
  WantedRevision wanted_;
};

void CopyMember(const json& from, const char* key, json* to) {
  if (from.contains(key)) {
    (*to)[key] = from[key];
  } else {
    to->erase(key);
  }
}

}  // namespace

const std::string& DefaultImages::Of(PodRole role) const {
  return role == PodRole::kHead ? head : role == PodRole::kRouter ? router : worker;
}

DefaultImages ImagesOf(const v1::Revision& revision) {
  return {revision.head_image(), revision.router_image(), revision.worker_image()};
}

std::string RoleKey(PodRole role, const std::string& worker_group) {
  return role == PodRole::kWorker ? absl::StrCat("worker/", worker_group) : PodRoleName(role);
}

RoleHashes ParseRoleHashes(const std::string& text) {
  RoleHashes hashes;
  for (const auto& part : absl::StrSplit(text, ' ', absl::SkipEmpty())) {
    const std::pair<std::string, std::string> pair = absl::StrSplit(part, absl::MaxSplits('=', 1));
    hashes.insert(pair);
  }
  return hashes;
}

std::string FormatRoleHashes(const RoleHashes& hashes) { return absl::StrJoin(hashes, " ", absl::PairFormatter("=")); }

absl::StatusOr<v1::InferenceClusterSpec> SpecOf(const v1::Revision& revision, const ObservedCluster& cluster) {
  const json manifest = {{"apiVersion", "slmmesh.io/v1alpha1"},
                         {"kind", "InferenceCluster"},
                         {"metadata", {{"name", cluster.name}, {"namespace", cluster.ns}}},
                         {"spec", ToJson(revision.spec())}};
  ASSIGN_OR_RETURN(v1::InferenceCluster parsed,
                   ParseManifest(manifest.dump(), absl::StrCat("revision ", revision.number())));
  return std::move(*parsed.mutable_spec());
}

uint32_t GroupSizeOf(const v1::Revision& revision) {
  const auto size = revision.spec().fields().find("tensorParallelSize");
  return size == revision.spec().fields().end() ? 1 : static_cast<uint32_t>(size->second.number_value());
}

RoleHashes HashRoles(const v1::InferenceClusterSpec& spec, const DefaultImages& images) {
  RoleHashes hashes = {{"head", HashText(Material(spec, PodRole::kHead, "", images).dump())},
                       {"router", HashText(RouterMaterial(spec, images).dump())}};
  for (const v1::WorkerGroupSpec& group : spec.worker_group_specs()) {
    hashes[RoleKey(PodRole::kWorker, group.group_name())] = HashText(WorkerMaterial(spec, group, images).dump());
  }
  return hashes;
}

WantedRevision PlanRevision(const Observed& observed, const OperatorSettings& settings, absl::Time now) {
  return RevisionPlanner(observed, settings, now).Plan();
}

json RolledBackSpec(const v1::Revision& revision, const google::protobuf::Struct& present) {
  json spec = ToJson(revision.spec());
  const json now = ToJson(present);
  for (const char* key : {"groups", "autoscaling", "rollout"}) CopyMember(now, key, &spec);
  if (now.contains("routerSpec") && spec.contains("routerSpec")) {
    for (const char* key : {"replicas", "service"}) CopyMember(now["routerSpec"], key, &spec["routerSpec"]);
  }
  for (json& group : spec["workerGroupSpecs"]) {
    for (const json& other : now.value("workerGroupSpecs", json::array())) {
      if (other.value("groupName", "") != group.value("groupName", "")) continue;
      for (const char* key : {"replicas", "minReplicas", "maxReplicas"}) CopyMember(other, key, &group);
    }
  }
  return spec;
}

uint32_t RevisionNumberOf(const std::string& hash, const std::vector<v1::Revision>& history,
                          const std::vector<ObservedPod>& pods) {
  for (const ObservedPod& pod : pods) {
    if (pod.hash == hash) return pod.revision;
  }
  for (const v1::Revision& revision : history) {
    for (const auto& [role, other] : ParseRoleHashes(revision.hash())) {
      if (other == hash) return revision.number();
    }
  }
  return history.empty() ? 1 : history.back().number();
}

const v1::Revision* FindRevision(const std::string& role_key, const std::string& hash,
                                 const std::vector<v1::Revision>& history) {
  for (auto revision = history.rbegin(); revision != history.rend(); ++revision) {
    const RoleHashes hashes = ParseRoleHashes(revision->hash());
    const auto found = hashes.find(role_key);
    if (found != hashes.end() && found->second == hash) return &*revision;
  }
  return nullptr;
}

}  // namespace slmmesh
