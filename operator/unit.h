// A unit is what comes and goes as a whole: a serving group's pods, or one router, or the head. Units are what pods and
// the head's table show together. Pure.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "operator/observed.h"

namespace slmmesh {

struct Unit {
  std::vector<const ObservedPod*> pods;  // present ones, by slot
  uint32_t size = 1;                     // that many make it whole
  std::string hash;
  uint32_t revision = 0;
  bool is_wanted = false;            // made from what is wanted now
  bool is_routable = false;          // whole, and a router says it can send there
  bool may_serve = false;            // one of its pods is ready: perhaps a router that we do not hear of uses it
  bool is_draining = false;          // on its way out already
  bool has_started = true;           // false: all pods wait for their first start; nothing is lost with them
  uint32_t load = 0;                 // requests
  const v1::Group* group = nullptr;  // of the table; null: no seats, as far as we know

  bool is_whole() const { return pods.size() >= size; }
};

// A pod that counts: neither on its way out of the API server nor finished.
bool IsPresent(const ObservedPod& pod);
bool HasFailed(const ObservedPod& pod);

// Groups that a router can send to: id → epoch.
std::set<std::pair<std::string, uint64_t>> RoutableGroups(const v1::ClusterTable& table);
// True when any router still lists the group, of whatever epoch.
bool IsListedByRouter(const v1::ClusterTable& table, const std::string& group_id);

struct UnitRules {
  std::string wanted_hash;
  std::map<std::string, uint32_t> sizes;  // by hash: pods of a unit; 1 where absent
  std::set<std::string> draining;         // names of pods
};

// Of one worker group's pods. Groups of the table first, then pods without a seat: they complete groups that lack one,
// the others are counted off by slot.
std::vector<Unit> WorkerUnits(const std::vector<const ObservedPod*>& pods, const v1::ClusterTable* table,
                              const UnitRules& rules);
// Each pod is one; it serves when it is ready.
std::vector<Unit> SinglePodUnits(const std::vector<const ObservedPod*>& pods, const UnitRules& rules);

}  // namespace slmmesh
