// `mesh down`, `mesh status`, `mesh logs`: what is asked of a mesh that runs.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace slmmesh {

// `name`: the manifest's metadata.name; empty: the only mesh that runs.
absl::Status Down(const std::string& name, double timeout_seconds);
absl::Status PrintStatus(const std::string& name, bool json);

struct LogsOptions {
  std::string name;
  std::string process;  // empty: all
  int lines = 50;
  bool follow = false;
};
absl::Status PrintLogs(const LogsOptions& options);

}  // namespace slmmesh
