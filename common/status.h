// Status helpers on top of abseil: errors of the outside world are values; bugs abort by ABSL_ASSERT / CHECK.
#pragma once

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

namespace slmmesh {

// The same code with `context: ` before the message: says where an error happened as it travels up.
inline absl::Status Annotate(const absl::Status& status, const std::string& context) {
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat(context, ": ", status.message()));
}

}  // namespace slmmesh

#define MESH_CONCAT_INNER(a, b) a##b
#define MESH_CONCAT(a, b) MESH_CONCAT_INNER(a, b)

#define RETURN_IF_ERROR(expression)                           \
  do {                                                        \
    if (absl::Status status_ = (expression); !status_.ok()) { \
      return status_;                                         \
    }                                                         \
  } while (false)

#define ASSIGN_OR_RETURN(lhs, expression) MESH_ASSIGN_OR_RETURN_IMPL(MESH_CONCAT(status_or_, __LINE__), lhs, expression)
#define MESH_ASSIGN_OR_RETURN_IMPL(status_or, lhs, expression) \
  auto status_or = (expression);                               \
  if (!status_or.ok()) return status_or.status();              \
  lhs = std::move(status_or).value()
