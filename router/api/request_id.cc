#include "router/api/request_id.h"

#include <random>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/random.h"

namespace slmmesh {

bool IsSafeRequestId(absl::string_view id) {
  if (id.empty() || id.size() > 128) return false;
  for (char c : id) {
    if (!absl::ascii_isalnum(c) && c != '.' && c != '_' && c != '-') return false;
  }
  return true;
}

std::string RequestIdOf(absl::string_view from_client) {
  if (IsSafeRequestId(from_client)) return std::string(from_client);
  // Unique, not secret: a generator per thread, seeded once, instead of a system call per request.
  static thread_local std::mt19937_64 random(RandomUint64());
  return absl::StrCat(absl::Hex(random(), absl::kZeroPad16), absl::Hex(random(), absl::kZeroPad16));
}

}  // namespace slmmesh
