// Files: read whole, written atomically, mapped, digested. Errors name the path.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace slmmesh {

// At most `max_bytes`; a larger file is refused with RESOURCE_EXHAUSTED.
absl::StatusOr<std::string> ReadFile(const std::string& path, size_t max_bytes = size_t{64} << 20);

// Writes a temporary file beside `path`, then renames it: readers see the old bytes or the new ones. `mode` as chmod's.
absl::Status WriteFileAtomic(const std::string& path, const std::string& bytes, unsigned mode = 0644);

// A read-only memory map of a whole regular file. Pages are read when they are touched. Thread-safe.
class MappedFile {
 public:
  static absl::StatusOr<std::shared_ptr<const MappedFile>> Open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& path() const { return path_; }
  absl::Span<const uint8_t> bytes() const { return {data_, size_}; }

 private:
  MappedFile(std::string path, const uint8_t* data, size_t size) : path_(std::move(path)), data_(data), size_(size) {}
  std::string path_;
  const uint8_t* data_;
  size_t size_;
};

// Lowercase hex SHA-256.
std::string Sha256Hex(absl::Span<const uint8_t> bytes);
absl::StatusOr<std::string> Sha256HexOfFile(const std::string& path);

}  // namespace slmmesh
