// `mesh issue`: certificates of a throwaway authority, for running the programs by hand (benchmarks, experiments).
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"

namespace slmmesh {

struct IssueOptions {
  std::string cluster;
  std::string folder;                   // gets <name>/{tls.crt,tls.key,ca.crt}
  std::vector<std::string> identities;  // "role:name", such as worker:cpu-0
  int days = 30;
};

absl::Status Issue(const IssueOptions& options);

}  // namespace slmmesh
