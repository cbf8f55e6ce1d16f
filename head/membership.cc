#include "head/membership.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/log.h"
#include "common/status.h"
#include "head/group_state.h"

namespace slmmesh {
namespace {

constexpr size_t kMaxNameBytes = 256;
constexpr size_t kMaxMessageBytes = 1024;
constexpr size_t kMaxRoutableGroups = 4096;
constexpr uint32_t kMaxGroupSize = 64;

absl::Status CheckName(const char* field, const std::string& value, bool required) {
  if (required && value.empty()) return absl::InvalidArgumentError(absl::StrCat("offer.", field, " is empty"));
  if (value.size() > kMaxNameBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("offer.", field, " has ", value.size(), " bytes, more than the ", kMaxNameBytes, " allowed"));
  }
  return absl::OkStatus();
}

absl::Status CheckOffer(const v1::Offer& offer) {
  RETURN_IF_ERROR(CheckName("worker_id", offer.worker_id(), true));
  RETURN_IF_ERROR(CheckName("worker_group", offer.worker_group(), true));
  RETURN_IF_ERROR(CheckName("model_key", offer.model_key(), true));
  RETURN_IF_ERROR(CheckName("endpoint", offer.endpoint(), true));
  RETURN_IF_ERROR(CheckName("accelerator", offer.accelerator(), false));
  RETURN_IF_ERROR(CheckName("host_id", offer.host_id(), false));
  RETURN_IF_ERROR(CheckName("exchange_endpoint", offer.exchange_endpoint(), false));
  RETURN_IF_ERROR(CheckName("seat.group_id", offer.seat().group_id(), false));
  RETURN_IF_ERROR(CheckName("revision", offer.revision(), false));
  if (offer.incarnation() == 0) {
    return absl::InvalidArgumentError("offer.incarnation is 0: take a random number per process start");
  }
  if (offer.tensor_parallel_size() < 1 || offer.tensor_parallel_size() > kMaxGroupSize) {
    return absl::InvalidArgumentError(absl::StrCat("offer.tensor_parallel_size is ", offer.tensor_parallel_size(),
                                                   ", not from 1 to ", kMaxGroupSize));
  }
  return absl::OkStatus();
}

// Never in the middle of a character: the wire carries valid UTF-8 only.
void CutToSize(std::string& text, size_t max_bytes) {
  if (text.size() <= max_bytes) return;
  size_t end = max_bytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  text.resize(end);
}

v1::RouterReport WithoutLoad(v1::RouterReport report) {
  report.clear_active_requests();
  report.clear_queued_requests();
  return report;
}

}  // namespace

Membership::Membership(MembershipOptions options, const Clock& clock)
    : options_(std::move(options)), clock_(clock), start_(clock.Now()) {}

absl::Status Membership::Join(StreamId stream, const v1::Offer& offer) {
  if (workers_of_streams_.count(stream) > 0) {
    return absl::FailedPreconditionError("an offer comes once, as the first message of its stream");
  }
  RETURN_IF_ERROR(CheckOffer(offer));
  if (members_.size() >= kMaxMembers && members_.count(offer.worker_id()) == 0) {
    return absl::ResourceExhaustedError(absl::StrCat("this head keeps at most ", kMaxMembers, " workers"));
  }
  EndOldStream(offer.worker_id(), "a newer stream of the same worker has come");
  Member& member = members_[offer.worker_id()];
  if (member.offer.incarnation() != offer.incarnation()) member = Member();
  member.offer = offer;
  member.offer.clear_seat();
  member.status.set_leaving(offer.leaving());
  member.told = offer.seat();
  member.drained_epoch = 0;  // the command may have been lost with the stream before
  member.connected = true;
  member.last_seen = clock_.Now();
  disconnected_at_.erase(offer.worker_id());
  workers_of_streams_[stream] = offer.worker_id();
  streams_of_workers_[offer.worker_id()] = stream;
  ++joins_;
  Message welcome;
  welcome.stream = stream;
  v1::Lease& lease = *welcome.response.mutable_lease();
  lease.set_heartbeat_ms(static_cast<uint32_t>(absl::ToInt64Milliseconds(options_.heartbeat)));
  lease.set_lease_ms(static_cast<uint32_t>(absl::ToInt64Milliseconds(options_.lease)));
  lease.set_head_id(options_.head_id);
  messages_.push_back(std::move(welcome));
  LogInfo("head.worker_joined", {{"worker", offer.worker_id()},
                                 {"worker_group", offer.worker_group()},
                                 {"held_group", offer.seat().group_id()},
                                 {"held_epoch", offer.seat().epoch()}});
  Replan();
  return absl::OkStatus();
}

absl::Status Membership::Report(StreamId stream, const v1::WorkerStatus& status) {
  const auto worker = workers_of_streams_.find(stream);
  if (worker == workers_of_streams_.end()) {
    return absl::FailedPreconditionError("the first message of a stream must be an offer");
  }
  Member& member = members_.at(worker->second);
  const bool changed = member.status.phase() != status.phase() || !SameSeat(member.status.seat(), status.seat()) ||
                       member.status.message() != status.message() || member.status.leaving() != status.leaving();
  member.last_seen = clock_.Now();
  member.status = status;
  CutToSize(*member.status.mutable_message(), kMaxMessageBytes);
  if (changed) Replan();
  return absl::OkStatus();
}

void Membership::EndStream(StreamId stream) {
  const auto worker = workers_of_streams_.find(stream);
  if (worker == workers_of_streams_.end()) return;
  const std::string worker_id = worker->second;
  workers_of_streams_.erase(worker);
  streams_of_workers_.erase(worker_id);
  members_.at(worker_id).connected = false;
  disconnected_at_[worker_id] = clock_.Now();
  LogInfo("head.worker_stream_ended", {{"worker", worker_id}});
  Replan();
}

void Membership::EndOldStream(const std::string& worker_id, const std::string& reason) {
  const auto stream = streams_of_workers_.find(worker_id);
  if (stream == streams_of_workers_.end()) return;
  LogWarning("head.worker_stream_replaced", {{"worker", worker_id}, {"reason", reason}});
  Message end;
  end.stream = stream->second;
  end.end = absl::AbortedError(reason);
  messages_.push_back(std::move(end));
  workers_of_streams_.erase(stream->second);
  streams_of_workers_.erase(stream);
}

absl::Status Membership::SetDraining(const std::vector<std::string>& worker_ids) {
  if (worker_ids.size() > kMaxMembers) {
    return absl::InvalidArgumentError(absl::StrCat("worker_ids has ", worker_ids.size(),
                                                   " entries, more workers than the ", kMaxMembers, " a head keeps"));
  }
  draining_ = {worker_ids.begin(), worker_ids.end()};
  LogInfo("head.draining", {{"workers", draining_.size()}});
  Replan();
  return absl::OkStatus();
}

absl::Status Membership::ReportRouter(StreamId stream, const v1::RouterReport& report) {
  if (routers_.count(stream) == 0 && routers_.size() >= kMaxRouters) {
    return absl::ResourceExhaustedError(absl::StrCat("this head keeps at most ", kMaxRouters, " routers"));
  }
  if (static_cast<size_t>(report.routable_size()) > kMaxRoutableGroups) {
    return absl::InvalidArgumentError(absl::StrCat("report.routable has ", report.routable_size(),
                                                   " groups, more than the ", kMaxRoutableGroups, " allowed"));
  }
  v1::RouterReport& known = routers_[stream];
  if (WithoutLoad(known).SerializeAsString() != WithoutLoad(report).SerializeAsString()) ++routers_version_;
  known = report;
  // A router may remember a newer epoch than any worker that is left.
  for (const v1::GroupSeat& seat : report.routable()) plan_.highest_epoch = std::max(plan_.highest_epoch, seat.epoch());
  return absl::OkStatus();
}

void Membership::EndRouter(StreamId stream) { routers_version_ += routers_.erase(stream); }

void Membership::Tick() { Replan(); }

std::vector<Membership::Message> Membership::TakeMessages() { return std::exchange(messages_, {}); }

void Membership::RemoveTheDead() {
  const absl::Time now = clock_.Now();
  for (auto it = members_.begin(); it != members_.end();) {
    const std::string worker_id = it->first;
    const Member& member = it->second;
    const bool silent = member.connected && member.last_seen + options_.lease < now;
    // Who left in order does not come back.
    const absl::Duration grace = member.status.leaving() ? absl::ZeroDuration() : options_.reconnect_grace;
    const bool cut = !member.connected && disconnected_at_.at(worker_id) + grace <= now;
    if (!silent && !cut) {
      ++it;
      continue;
    }
    LogWarning("head.worker_gone",
               {{"worker", worker_id}, {"reason", silent ? "its lease ended" : "its stream ended"}});
    if (silent) EndOldStream(worker_id, "the lease ended: no status came in time");
    disconnected_at_.erase(worker_id);
    it = members_.erase(it);
  }
}

void Membership::Replan() {
  RemoveTheDead();
  for (auto& [worker_id, member] : members_) {
    member.draining = member.status.leaving() || draining_.count(worker_id) > 0;
  }
  PlannerRules rules;
  rules.may_form = settled();
  rules.replacement_wait = options_.replacement_wait;
  plan_ = PlanGroups(std::move(plan_), members_, rules, clock_.Now());
  for (const Command& command : CommandsFor(plan_, members_)) SendCommand(command);
  std::string structure = StructureOfTable();
  if (structure != structure_) {
    structure_ = std::move(structure);
    ++version_;
  }
}

void Membership::SendCommand(const Command& command) {
  Member& member = members_.at(command.worker_id);
  Message message;
  message.stream = streams_of_workers_.at(command.worker_id);
  if (command.drain) {
    *message.response.mutable_drain()->mutable_seat() = command.seat;
    member.drained_epoch = command.seat.epoch();
    LogInfo("head.drained", {{"group", command.seat.group_id()}, {"epoch", command.seat.epoch()}});
    messages_.push_back(std::move(message));
    return;
  }
  if (command.seat.group_id().empty()) {
    v1::Release& release = *message.response.mutable_release();
    *release.mutable_seat() = member.told;
    release.set_reason("the group goes on without this worker, or is no more");
    LogInfo("head.released",
            {{"worker", command.worker_id}, {"group", member.told.group_id()}, {"epoch", member.told.epoch()}});
  } else {
    v1::Assignment& assignment = *message.response.mutable_assignment();
    *assignment.mutable_seat() = command.seat;
    const GroupPlan& group = plan_.groups.at(command.seat.group_id());
    for (uint32_t rank = 0; rank < group.seats.size(); ++rank) {
      *assignment.add_peers() = PeerOf(rank, group.seats[rank].worker_id);
    }
    LogInfo("head.assigned", {{"worker", command.worker_id},
                              {"group", command.seat.group_id()},
                              {"epoch", command.seat.epoch()},
                              {"rank", command.seat.rank()}});
  }
  member.told = command.seat;
  messages_.push_back(std::move(message));
}

v1::Peer Membership::PeerOf(uint32_t rank, const std::string& worker_id) const {
  const v1::Offer& offer = members_.at(worker_id).offer;
  v1::Peer peer;
  peer.set_rank(rank);
  peer.set_worker_id(worker_id);
  peer.set_incarnation(offer.incarnation());
  peer.set_host_id(offer.host_id());
  peer.set_endpoint(offer.endpoint());
  peer.set_exchange_endpoint(offer.exchange_endpoint());
  return peer;
}

v1::ClusterTable Membership::Table() const {
  v1::ClusterTable table;
  table.set_head_id(options_.head_id);
  table.set_version(version_);
  for (const auto& [group_id, group] : plan_.groups) *table.add_groups() = DescribeGroup(group_id, group, members_);
  for (const auto& [worker_id, member] : members_) {
    v1::Member& described = *table.add_members();
    *described.mutable_offer() = member.offer;
    if (!member.told.group_id().empty()) *described.mutable_offer()->mutable_seat() = member.told;
    *described.mutable_status() = member.status;
    described.set_last_seen_unix_ms(static_cast<uint64_t>(absl::ToUnixMillis(member.last_seen)));
  }
  for (const auto& [stream, report] : routers_) *table.add_routers() = report;
  return table;
}

// The table without what changes all the time.
std::string Membership::StructureOfTable() const {
  v1::ClusterTable table = Table();
  table.clear_version();
  table.clear_routers();
  for (v1::Group& group : *table.mutable_groups()) group.clear_load();
  for (v1::Member& member : *table.mutable_members()) {
    member.clear_last_seen_unix_ms();
    member.mutable_status()->clear_load();
    member.mutable_status()->clear_load_fraction();
  }
  return table.SerializeAsString();
}

}  // namespace slmmesh
