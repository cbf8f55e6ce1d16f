#include "cli/control.h"

#include <google/protobuf/util/json_util.h>
#include <signal.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "cli/head_client.h"
#include "cli/progress.h"
#include "cli/run_folder.h"
#include "common/status.h"

namespace slmmesh {
namespace {

constexpr absl::Duration kPoll = absl::Milliseconds(50);
constexpr absl::Duration kFollowPoll = absl::Milliseconds(200);

absl::StatusOr<std::vector<std::string>> LogFiles(const std::string& folder, const std::string& process) {
  std::vector<std::string> names, paths;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(folder + "/logs", ignored)) {
    names.push_back(entry.path().stem().string());
    if (process.empty() || names.back() == process) paths.push_back(entry.path().string());
  }
  std::sort(names.begin(), names.end());
  std::sort(paths.begin(), paths.end());
  if (!paths.empty()) return paths;
  return absl::NotFoundError(absl::StrCat("no process named ", process, "; known: ", absl::StrJoin(names, ", ")));
}

void PrintLine(const std::string& process, const std::string& line) { std::cout << process << " | " << line << "\n"; }

}  // namespace

absl::Status Down(const std::string& name, double timeout_seconds) {
  ASSIGN_OR_RETURN(const std::string folder, FindRunFolder(name));
  ASSIGN_OR_RETURN(const MeshState state, ReadState(folder));
  if (state.supervisor_pid <= 1 || kill(state.supervisor_pid, SIGTERM) != 0) {
    return absl::NotFoundError(absl::StrCat("process ", state.supervisor_pid, " of mesh ", state.cluster, " is gone"));
  }
  const absl::Time deadline = absl::Now() + absl::Seconds(timeout_seconds);
  while (RunLock::IsHeld(folder)) {
    if (absl::Now() > deadline) {
      return absl::DeadlineExceededError(absl::StrCat("mesh ", state.cluster, " did not stop within ", timeout_seconds,
                                                      " s; its supervisor is process ", state.supervisor_pid));
    }
    absl::SleepFor(kPoll);
  }
  std::cout << "mesh " << state.cluster << " stopped\n";
  return absl::OkStatus();
}

absl::Status PrintStatus(const std::string& name, bool json) {
  ASSIGN_OR_RETURN(const std::string folder, FindRunFolder(name));
  ASSIGN_OR_RETURN(const MeshState state, ReadState(folder));
  const auto table = HeadClient(folder, state.cluster, state.head).GetTable(absl::Seconds(3));
  if (!table.ok()) std::cerr << "mesh status: " << table.status().message() << "\n";
  const v1::ClusterTable shown = table.ok() ? *table : v1::ClusterTable();
  if (!json) {
    std::cout << StatusTables(state, shown);
    return absl::OkStatus();
  }
  std::string text;
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  options.always_print_primitive_fields = true;
  const auto printed = google::protobuf::util::MessageToJsonString(shown, &text, options);
  if (!printed.ok()) return absl::InternalError("the table has no JSON form");
  std::cout << text;
  return absl::OkStatus();
}

absl::Status PrintLogs(const LogsOptions& options) {
  ASSIGN_OR_RETURN(const std::string folder, FindRunFolder(options.name));
  ASSIGN_OR_RETURN(const std::vector<std::string> paths, LogFiles(folder, options.process));
  std::vector<std::ifstream> files;
  for (const std::string& path : paths) {
    files.emplace_back(path);
    std::vector<std::string> lines;
    for (std::string line; std::getline(files.back(), line);) lines.push_back(line);
    const size_t count = std::min(lines.size(), static_cast<size_t>(std::max(options.lines, 0)));
    const std::string process = std::filesystem::path(path).stem().string();
    for (size_t i = lines.size() - count; i < lines.size(); ++i) PrintLine(process, lines[i]);
  }
  while (options.follow && RunLock::IsHeld(folder)) {
    for (size_t i = 0; i < files.size(); ++i) {
      files[i].clear();
      for (std::string line; std::getline(files[i], line);) {
        PrintLine(std::filesystem::path(paths[i]).stem().string(), line);
      }
    }
    std::cout.flush();
    absl::SleepFor(kFollowPoll);
  }
  return absl::OkStatus();
}

}  // namespace slmmesh
