// Who may call: a file of `tenant:key` lines. Re-read when it changes; a broken file leaves the last good one in place.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace slmmesh {

// Immutable.
class ApiKeys {
 public:
  // Lines `tenant:key`; empty lines and lines that begin with # are skipped. Errors name the line, never a key.
  static absl::StatusOr<ApiKeys> Parse(absl::string_view text);
  // The tenant of "Bearer KEY". Compares with every key, each in constant time. UNAUTHENTICATED otherwise.
  absl::StatusOr<std::string> TenantOf(absl::string_view authorization) const;
  size_t size() const { return keys_.size(); }

 private:
  std::vector<std::pair<std::string, std::string>> keys_;  // tenant, key
};

// Thread-safe.
class ApiKeysFile {
 public:
  // An empty path: no authentication, everyone is the tenant "".
  static absl::StatusOr<std::unique_ptr<ApiKeysFile>> Open(const std::string& path);
  absl::StatusOr<std::string> TenantOf(absl::string_view authorization) const;
  // Looks whether the file changed; cheap. One thread.
  void Refresh();

 private:
  explicit ApiKeysFile(std::string path) : path_(std::move(path)) {}
  absl::Status Read();

  const std::string path_;
  std::atomic<std::shared_ptr<const ApiKeys>> keys_;
  std::pair<int64_t, int64_t> stamp_{0, 0};  // modification time in ns, size
};

}  // namespace slmmesh
