// Who is alive, and what follows from it: members and their leases, groups, routers, the table. It decides by
// PlanGroups, and leaves a message for each member whose seat changed. Not thread-safe; time comes from the clock
// alone.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/clock.h"
#include "head/group_planner.h"
#include "slmmesh/v1/head.pb.h"

namespace slmmesh {

struct MembershipOptions {
  std::string head_id;
  absl::Duration heartbeat = absl::Seconds(1);
  absl::Duration lease = absl::Seconds(5);                   // silence for longer: dead
  absl::Duration reconnect_grace = absl::Milliseconds(500);  // a cut stream may come back within it
  absl::Duration restart_grace = absl::Seconds(2);           // after our start: only listen, form nothing
  absl::Duration replacement_wait = absl::Seconds(30);       // then a broken group may be given up for another one
};

constexpr size_t kMaxMembers = 4096;
constexpr size_t kMaxRouters = 256;

// One worker's or router's stream; the caller gives each a number of its own.
using StreamId = uint64_t;

class Membership {
 public:
  Membership(MembershipOptions options, const Clock& clock);

  // A worker's stream. An error means: end the stream with it.
  absl::Status Join(StreamId stream, const v1::Offer& offer);
  absl::Status Report(StreamId stream, const v1::WorkerStatus& status);
  void EndStream(StreamId stream);

  // The whole list of those that get no seat, and whose groups get no new requests.
  absl::Status SetDraining(const std::vector<std::string>& worker_ids);

  // A router's stream.
  absl::Status ReportRouter(StreamId stream, const v1::RouterReport& report);
  void EndRouter(StreamId stream);

  // Lets time pass: leases end, retries begin. Call it every 100 ms or so.
  void Tick();

  struct Message {
    StreamId stream = 0;
    v1::JoinResponse response;
    absl::Status end;  // not OK: end the stream with it instead
  };
  // What is to be sent since the last call, in order.
  std::vector<Message> TakeMessages();

  // False shortly after the start, when workers and groups may still be unknown: routers should keep what they have.
  bool settled() const { return clock_.Now() >= start_ + options_.restart_grace; }
  // Grows when the table changes in more than loads and times.
  uint64_t version() const { return version_; }
  // Grows when routers come or go, or reach other groups than before.
  uint64_t routers_version() const { return routers_version_; }
  v1::ClusterTable Table() const;

  const Members& members() const { return members_; }
  const Plan& plan() const { return plan_; }
  size_t joins() const { return joins_; }
  size_t router_count() const { return routers_.size(); }

 private:
  void RemoveTheDead();
  void Replan();
  void SendCommand(const Command& command);
  v1::Peer PeerOf(uint32_t rank, const std::string& worker_id) const;
  void EndOldStream(const std::string& worker_id, const std::string& reason);
  std::string StructureOfTable() const;

  const MembershipOptions options_;
  const Clock& clock_;
  const absl::Time start_;
  Members members_;
  std::map<StreamId, std::string> workers_of_streams_;
  std::map<std::string, StreamId> streams_of_workers_;  // of connected members
  std::map<std::string, absl::Time> disconnected_at_;   // of the others
  std::map<StreamId, v1::RouterReport> routers_;
  std::set<std::string> draining_;
  Plan plan_;
  std::vector<Message> messages_;
  uint64_t version_ = 1;
  uint64_t routers_version_ = 1;
  std::string structure_;  // of the table when `version_` was counted up last
  size_t joins_ = 0;
};

}  // namespace slmmesh
