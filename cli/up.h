// `mesh up`: the manifest's mesh as processes on this machine, from here until Ctrl-C or `mesh down`.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace slmmesh {

struct UpOptions {
  std::string manifest;
  bool detach = false;
  double ready_timeout_seconds = 600;
  std::string isa = "auto";
};

absl::Status Up(const UpOptions& options);

}  // namespace slmmesh
