// Memory of a kernels backend with an owner.
#pragma once

#include <cstddef>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "kernels/backend.h"

namespace slmmesh {

// Zeroed when made. Movable. The backend must outlive it.
class Buffer {
 public:
  Buffer() = default;
  ~Buffer() { Free(); }
  Buffer(Buffer&& other) noexcept : backend_(other.backend_), data_(std::exchange(other.data_, nullptr)) {}
  Buffer& operator=(Buffer&& other) noexcept {
    if (this != &other) {
      Free();
      backend_ = other.backend_;
      data_ = std::exchange(other.data_, nullptr);
    }
    return *this;
  }

  // RESOURCE_EXHAUSTED naming `purpose` when there is no memory. 0 bytes give a buffer whose data is null.
  static absl::StatusOr<Buffer> Create(kernels::Backend* backend, size_t bytes, const char* purpose) {
    Buffer buffer;
    buffer.backend_ = backend;
    if (bytes == 0) return buffer;
    buffer.data_ = backend->Allocate(bytes);
    if (buffer.data_ == nullptr) {
      return absl::ResourceExhaustedError(absl::StrCat("no memory for ", purpose, ": ", bytes, " bytes"));
    }
    return buffer;
  }

  void* data() const { return data_; }
  float* floats() const { return static_cast<float*>(data_); }

 private:
  void Free() {
    if (data_ != nullptr) backend_->Free(data_);
  }

  kernels::Backend* backend_ = nullptr;
  void* data_ = nullptr;
};

}  // namespace slmmesh
