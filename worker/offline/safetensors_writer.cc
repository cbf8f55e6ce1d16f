#include "worker/offline/safetensors_writer.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "common/status.h"
#include "worker/checkpoint/tensor_table.h"

namespace slmmesh {
namespace {

absl::Status FileError(const std::string& path, const char* what) {
  const int error = errno;
  const std::string message = absl::StrCat(path, ": cannot ", what, ": ", std::strerror(error));
  return error == ENOSPC ? absl::ResourceExhaustedError(message) : absl::UnavailableError(message);
}

}  // namespace

uint64_t TensorEntry::bytes() const {
  return RowBytes(type, shape.back()) * static_cast<uint64_t>(shape.size() == 1 ? 1 : shape[0]);
}

absl::StatusOr<std::unique_ptr<SafetensorsWriter>> SafetensorsWriter::Create(const std::string& path,
                                                                             const std::vector<TensorEntry>& entries) {
  nlohmann::ordered_json json = {{"__metadata__", {{"format", "pt"}}}};  // transformers wants to see it
  uint64_t bytes = 0;
  for (const TensorEntry& entry : entries) {
    json[entry.name] = {{"dtype", TensorTypeName(entry.type)},
                        {"shape", entry.shape},
                        {"data_offsets", {bytes, bytes + entry.bytes()}}};
    bytes += entry.bytes();
  }
  std::string header = json.dump();
  header.append((8 - header.size() % 8) % 8, ' ');
  const uint64_t length = header.size();
  header.insert(0, reinterpret_cast<const char*>(&length), sizeof length);

  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (fd < 0) return FileError(path, "create");
  std::unique_ptr<SafetensorsWriter> writer(new SafetensorsWriter(path, fd, header.size() + bytes));
  RETURN_IF_ERROR(writer->Append({reinterpret_cast<const uint8_t*>(header.data()), header.size()}));
  return writer;
}

SafetensorsWriter::~SafetensorsWriter() {
  if (fd_ >= 0) close(fd_);
}

absl::Status SafetensorsWriter::Append(absl::Span<const uint8_t> bytes) {
  assert(bytes.size() <= left_);
  left_ -= bytes.size();
  while (!bytes.empty()) {
    const ssize_t written = write(fd_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return FileError(path_, "write");
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

absl::Status SafetensorsWriter::Finish() {
  assert(left_ == 0);
  if (fsync(fd_) != 0) return FileError(path_, "flush");
  const int result = close(fd_);
  fd_ = -1;
  return result == 0 ? absl::OkStatus() : FileError(path_, "close");
}

}  // namespace slmmesh
