// What stands in a Lease, and who may take it: the part of leader election that needs no server.
#pragma once

#include <cstdint>
#include <string>

#include "absl/time/time.h"
#include "nlohmann/json.hpp"

namespace slmmesh::kube {

struct LeaseRecord {
  std::string holder;  // empty: released
  absl::Duration duration;
  std::string acquire_time;  // of the holder's clock: compared, never computed with
  std::string renew_time;
  int64_t transitions = 0;
  bool operator==(const LeaseRecord&) const = default;
};

// What is absent or of a wrong type counts as empty.
LeaseRecord ParseLease(const nlohmann::json& lease);

enum class LeaseMove { kTake, kRenew, kWait };

// Remembers when this process saw the record change. Not thread-safe.
class LeaseView {
 public:
  void Observe(const LeaseRecord& record, absl::Time now);
  LeaseMove Decide(const std::string& identity, absl::Time now) const;
  const LeaseRecord& record() const { return record_; }

 private:
  LeaseRecord record_;
  absl::Time changed_at_ = absl::InfinitePast();
};

// `lease` (an object as the server gave it, or one without a spec) held by `identity` from now on.
nlohmann::json WithHolder(nlohmann::json lease, const std::string& identity, absl::Duration duration, absl::Time now);
// `lease`, free at once for whoever comes.
nlohmann::json Released(nlohmann::json lease, absl::Time now);

}  // namespace slmmesh::kube
