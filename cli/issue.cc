#include "cli/issue.h"

#include <filesystem>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/status.h"
#include "common/tls.h"

namespace slmmesh {
namespace {

absl::StatusOr<Role> ParseRole(const std::string& name) {
  for (Role role : {Role::kHead, Role::kRouter, Role::kWorker, Role::kOperator, Role::kAdmin, Role::kMonitor}) {
    if (RoleName(role) == name) return role;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("\"", name, "\" is not a role; write head, router, worker, operator, admin or monitor"));
}

}  // namespace

absl::Status Issue(const IssueOptions& options) {
  ASSIGN_OR_RETURN(auto authority, CertificateAuthority::Create(options.cluster));
  std::error_code error;
  std::filesystem::create_directories(options.folder, error);
  if (error) return absl::UnavailableError(absl::StrCat(options.folder, ": cannot create: ", error.message()));
  for (const std::string& identity : options.identities) {
    const std::pair<std::string, std::string> parts = absl::StrSplit(identity, absl::MaxSplits(':', 1));
    ASSIGN_OR_RETURN(const Role role, ParseRole(parts.first));
    if (parts.second.empty()) {
      return absl::InvalidArgumentError(absl::StrCat("\"", identity, "\" has no name; write role:name"));
    }
    const std::string folder = absl::StrCat(options.folder, "/", parts.second);
    RETURN_IF_ERROR(authority->IssueInto(folder, role, parts.second, int64_t{options.days} * 24 * 3600));
    std::cout << folder << "\n";
  }
  return absl::OkStatus();
}

}  // namespace slmmesh
