// Writes a safetensors file piece by piece: the header first, then the tensors' bytes in its order.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "worker/checkpoint/checkpoint.h"

namespace slmmesh {

struct TensorEntry {
  std::string name;
  TensorType type;
  std::vector<int64_t> shape;

  uint64_t bytes() const;
};

class SafetensorsWriter {
 public:
  static absl::StatusOr<std::unique_ptr<SafetensorsWriter>> Create(const std::string& path,
                                                                   const std::vector<TensorEntry>& entries);
  ~SafetensorsWriter();
  SafetensorsWriter(const SafetensorsWriter&) = delete;
  SafetensorsWriter& operator=(const SafetensorsWriter&) = delete;

  // The bytes that follow those before, in the order of the entries.
  absl::Status Append(absl::Span<const uint8_t> bytes);
  template <typename T>
  absl::Status AppendNumbers(const std::vector<T>& numbers) {
    return Append({reinterpret_cast<const uint8_t*>(numbers.data()), numbers.size() * sizeof(T)});
  }
  // Flushes to the disk. All bytes must have been appended.
  absl::Status Finish();

 private:
  SafetensorsWriter(std::string path, int fd, uint64_t bytes) : path_(std::move(path)), fd_(fd), left_(bytes) {}

  const std::string path_;
  int fd_;
  uint64_t left_;  // bytes of tensors to come
};

}  // namespace slmmesh
