// Request ids: the client's own where it is safe to log and to send on, else a new one.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace slmmesh {

// 1 to 128 of A-Z a-z 0-9 . _ -
bool IsSafeRequestId(absl::string_view id);
std::string RequestIdOf(absl::string_view from_client);

}  // namespace slmmesh
