#include "operator/kube/lease_record.h"

#include <algorithm>

#include "operator/kube/api_error.h"

namespace slmmesh::kube {
namespace {

std::string MicroTime(absl::Time time) { return absl::FormatTime("%Y-%m-%dT%H:%M:%E6SZ", time, absl::UTCTimeZone()); }

int64_t NumberAt(const nlohmann::json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number_integer() ? found->get<int64_t>() : 0;
}

}  // namespace

LeaseRecord ParseLease(const nlohmann::json& lease) {
  const auto spec = lease.find("spec");
  if (spec == lease.end() || !spec->is_object()) return {};
  return {TextAt(*spec, "holderIdentity"), absl::Seconds(NumberAt(*spec, "leaseDurationSeconds")),
          TextAt(*spec, "acquireTime"), TextAt(*spec, "renewTime"), NumberAt(*spec, "leaseTransitions")};
}

void LeaseView::Observe(const LeaseRecord& record, absl::Time now) {
  if (record == record_ && changed_at_ != absl::InfinitePast()) return;
  record_ = record;
  changed_at_ = now;
}

LeaseMove LeaseView::Decide(const std::string& identity, absl::Time now) const {
  if (record_.holder == identity) return LeaseMove::kRenew;
  if (record_.holder.empty() || now > changed_at_ + record_.duration) return LeaseMove::kTake;
  return LeaseMove::kWait;
}

nlohmann::json WithHolder(nlohmann::json lease, const std::string& identity, absl::Duration duration, absl::Time now) {
  const LeaseRecord before = ParseLease(lease);
  nlohmann::json& spec = lease["spec"];
  if (!spec.is_object()) spec = nlohmann::json::object();
  if (before.holder != identity) {
    spec["acquireTime"] = MicroTime(now);
    spec["leaseTransitions"] = before.renew_time.empty() ? 0 : before.transitions + 1;
  }
  spec["holderIdentity"] = identity;
  spec["renewTime"] = MicroTime(now);
  spec["leaseDurationSeconds"] = std::max<int64_t>(1, absl::ToInt64Seconds(absl::Ceil(duration, absl::Seconds(1))));
  return lease;
}

nlohmann::json Released(nlohmann::json lease, absl::Time now) {
  nlohmann::json& spec = lease["spec"];
  spec["holderIdentity"] = "";
  spec["leaseDurationSeconds"] = 1;
  spec["renewTime"] = MicroTime(now);
  return lease;
}

}  // namespace slmmesh::kube
