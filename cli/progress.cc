#include "cli/progress.h"

#include <algorithm>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"

namespace slmmesh {
namespace {

std::string PhaseName(v1::WorkerPhase phase) {
  return absl::AsciiStrToLower(absl::StripPrefix(v1::WorkerPhase_Name(phase), "WORKER_PHASE_"));
}

std::string StateName(v1::GroupState state) {
  return absl::AsciiStrToLower(absl::StripPrefix(v1::GroupState_Name(state), "GROUP_STATE_"));
}

// Columns padded to their widest cell; the first row is the heading.
std::string Table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const auto& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i)
      absl::StrAppendFormat(&line, "%-*s", static_cast<int>(widths[i] + 3), row[i]);
    absl::StrAppend(&text, absl::StripTrailingAsciiWhitespace(line), "\n");
  }
  return text;
}

const v1::Member* FindMember(const v1::ClusterTable& table, const std::string& name) {
  for (const auto& member : table.members()) {
    if (member.offer().worker_id() == name) return &member;
  }
  return nullptr;
}

std::string Describe(const v1::Member& member) {
  const auto& status = member.status();
  std::string text = PhaseName(status.phase());
  if (status.phase() == v1::WORKER_PHASE_LOADING)
    absl::StrAppendFormat(&text, " %.0f %%", 100 * status.load_fraction());
  return text;
}

std::string ProcessTable(const MeshState& state, const v1::ClusterTable& table) {
  std::vector<std::vector<std::string>> rows = {{"PROCESS", "PID", "RESTARTS", "STATE", "GROUP", "RANK"}};
  for (const ProcessState& process : state.processes) {
    std::vector<std::string> row = {process.name,
                                    process.pid == 0 ? "-" : absl::StrCat(process.pid),
                                    absl::StrCat(process.restarts),
                                    process.pid == 0 ? "stopped" : "running",
                                    "",
                                    ""};
    if (const v1::Member* member = FindMember(table, process.name); member != nullptr) {
      row[3] = Describe(*member);
      const auto& seat = member->status().seat();
      if (!seat.group_id().empty()) {
        row[4] = seat.group_id();
        row[5] = absl::StrCat(seat.rank(), "/", seat.size());
      }
    }
    rows.push_back(row);
  }
  return Table(rows);
}

std::string GroupTable(const v1::ClusterTable& table) {
  std::vector<std::vector<std::string>> rows = {
      {"GROUP", "STATE", "EPOCH", "WORKERS", "RUNNING", "WAITING", "KV BLOCKS", "PREFILL TOK/S", "DECODE TOK/S"}};
  for (const auto& group : table.groups()) {
    const auto& load = group.load();
    rows.push_back({group.group_id(), StateName(group.state()), absl::StrCat(group.epoch()),
                    absl::StrJoin(group.worker_ids(), ","), absl::StrCat(load.running()), absl::StrCat(load.waiting()),
                    absl::StrCat(load.kv_blocks_used(), "/", load.kv_blocks_total()),
                    absl::StrFormat("%.0f", load.prefill_tokens_per_second()),
                    absl::StrFormat("%.0f", load.decode_tokens_per_second())});
  }
  return Table(rows);
}

std::string RouterTable(const v1::ClusterTable& table) {
  std::vector<std::vector<std::string>> rows = {{"ROUTER", "HTTP", "GRPC", "GROUPS", "ACTIVE", "QUEUED"}};
  for (const auto& router : table.routers()) {
    rows.push_back({router.router_id(), router.http_endpoint(), router.grpc_endpoint(),
                    absl::StrCat(router.routable_size()), absl::StrCat(router.active_requests()),
                    absl::StrCat(router.queued_requests())});
  }
  return Table(rows);
}

}  // namespace

bool IsRoutable(const v1::ClusterTable& table) {
  for (const auto& router : table.routers()) {
    if (router.routable_size() > 0) return true;
  }
  return false;
}

std::string ProgressLine(const v1::ClusterTable& table, size_t expected_workers) {
  std::string line = absl::StrCat("workers ", table.members_size(), "/", expected_workers);
  for (const auto& member : table.members()) {
    absl::StrAppend(&line, " · ", member.offer().worker_id(), " ", Describe(member));
  }
  return line;
}

std::string FirstFailure(const v1::ClusterTable& table) {
  for (const auto& member : table.members()) {
    if (member.status().phase() == v1::WORKER_PHASE_FAILED && !member.status().message().empty()) {
      return absl::StrCat(member.offer().worker_id(), ": ", member.status().message());
    }
  }
  return "";
}

std::string StatusTables(const MeshState& state, const v1::ClusterTable& table) {
  return absl::StrCat("mesh ", state.cluster, " · ", state.phase, " · model ", state.model, " · http://", state.http,
                      "\n\n", ProcessTable(state, table), "\n", GroupTable(table), "\n", RouterTable(table));
}

}  // namespace slmmesh
