#include "head/head_metrics.h"

#include "absl/strings/ascii.h"
#include "absl/strings/strip.h"
#include "head/group_state.h"

namespace slmmesh {

void UpdateHeadMetrics(Metrics& metrics, const Membership& membership) {
  std::map<v1::GroupState, int> groups = {
      {v1::GROUP_STATE_FORMING, 0}, {v1::GROUP_STATE_READY, 0}, {v1::GROUP_STATE_BROKEN, 0}};
  for (const auto& [group_id, group] : membership.plan().groups) {
    groups[ConditionOf(group_id, group, membership.members()).state]++;
  }
  for (const auto& [state, count] : groups) {
    const std::string name = absl::AsciiStrToLower(absl::StripPrefix(v1::GroupState_Name(state), "GROUP_STATE_"));
    metrics.Gauge("slmmesh_head_groups", "groups by state", {{"state", name}}).Set(count);
  }
  const auto set = [&metrics](const char* name, const char* help, double value) {
    metrics.Gauge(name, help).Set(value);
  };
  set("slmmesh_head_members", "live workers", static_cast<double>(membership.members().size()));
  set("slmmesh_head_routers", "routers that watch the table", static_cast<double>(membership.router_count()));
  set("slmmesh_head_highest_epoch", "highest epoch given or seen",
      static_cast<double>(membership.plan().highest_epoch));
  set("slmmesh_head_table_version", "version of the cluster table", static_cast<double>(membership.version()));
  prometheus::Counter& joins = metrics.Counter("slmmesh_head_joins_total", "streams that workers opened with an offer");
  joins.Increment(static_cast<double>(membership.joins()) - joins.Value());
}

}  // namespace slmmesh
